#include "common/reduce.cuh"

// One block a row; every thread keeps a maximum and a sum of its own, joined at the end.
extern "C" __global__ void softmax_online(const float *x, float *out, int cols) {
  const float *row = x + (long long)blockIdx.x * cols;
  float *dst = out + (long long)blockIdx.x * cols;
  float own_top = -3.4e38f, own_sum = 0.0f;
  for (int j = threadIdx.x; j < cols; j += BLOCK) {
    float v = row[j];
    if (v > own_top) {
      own_sum *= __expf(own_top - v);
      own_top = v;
    }
    own_sum += __expf(v - own_top);
  }
  float top = block_max(own_top);
  float scale = 1.0f / block_sum(own_sum * __expf(own_top - top));
  for (int j = threadIdx.x; j < cols; j += BLOCK) dst[j] = __expf(row[j] - top) * scale;
}
