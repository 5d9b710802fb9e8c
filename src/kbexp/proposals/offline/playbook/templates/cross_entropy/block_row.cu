#include "common/reduce.cuh"

// One block a row and one pass: every thread keeps a maximum and a sum of its own.
extern "C" __global__ void cross_entropy_row(const float *logits, const long long *targets,
                                             float *out, int classes) {
  const float *row = logits + (long long)blockIdx.x * classes;
  float own_top = -3.4e38f, own_sum = 0.0f;
  for (int j = threadIdx.x; j < classes; j += BLOCK) {
    float v = row[j];
    if (v > own_top) {
      own_sum *= __expf(own_top - v);
      own_top = v;
    }
    own_sum += __expf(v - own_top);
  }
  float top = block_max(own_top);
  float sum = block_sum(own_sum * __expf(own_top - top));
  if (threadIdx.x == 0) {
    long long target = targets[blockIdx.x];
    out[blockIdx.x] = target < 0 ? 0.0f : logf(sum) + top - row[target];
  }
}
