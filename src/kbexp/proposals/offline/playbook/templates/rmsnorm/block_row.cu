#include "common/reduce.cuh"

extern "C" __global__ void rmsnorm_row(const float *x, const float *weight, float *out, int cols,
                                       double eps) {
  const float *row = x + (long long)blockIdx.x * cols;
  float *dst = out + (long long)blockIdx.x * cols;
  float squares = 0.0f;
  for (int j = threadIdx.x; j < cols; j += BLOCK) squares += row[j] * row[j];
  float scale = rsqrtf(block_sum(squares) / cols + (float)eps);
  for (int j = threadIdx.x; j < cols; j += BLOCK) dst[j] = row[j] * scale * weight[j];
}
