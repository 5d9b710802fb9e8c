#include "common/reduce.cuh"

extern "C" __global__ void layernorm_row(const float *x, const float *weight, const float *bias,
                                         float *out, int cols, double eps) {
  const float *row = x + (long long)blockIdx.x * cols;
  float *dst = out + (long long)blockIdx.x * cols;
  float sum = 0.0f;
  for (int j = threadIdx.x; j < cols; j += BLOCK) sum += row[j];
  float mean = block_sum(sum) / cols;
  float squares = 0.0f;
  for (int j = threadIdx.x; j < cols; j += BLOCK) squares += (row[j] - mean) * (row[j] - mean);
  float scale = rsqrtf(block_sum(squares) / cols + (float)eps);
  for (int j = threadIdx.x; j < cols; j += BLOCK)
    dst[j] = (row[j] - mean) * scale * weight[j] + bias[j];
}
