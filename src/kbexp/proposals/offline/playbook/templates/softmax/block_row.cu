#include "common/reduce.cuh"

// One block a row; the row is read three times, after the first from the caches.
extern "C" __global__ void softmax_row(const float *x, float *out, int cols) {
  const float *row = x + (long long)blockIdx.x * cols;
  float *dst = out + (long long)blockIdx.x * cols;
  float top = -3.4e38f;
  for (int j = threadIdx.x; j < cols; j += BLOCK) top = fmaxf(top, row[j]);
  top = block_max(top);
  float sum = 0.0f;
  for (int j = threadIdx.x; j < cols; j += BLOCK) sum += __expf(row[j] - top);
  float scale = 1.0f / block_sum(sum);
  for (int j = threadIdx.x; j < cols; j += BLOCK) dst[j] = __expf(row[j] - top) * scale;
}
