#include "common/tile_product.cuh"

extern "C" __global__ void linear_gelu(const float *x, const float *weight, const float *bias,
                                       float *out, int rows, int depth, int cols, double scale) {
  product(x, out, rows, depth, cols,
          [=](long long k, long long j) { return weight[j * depth + k]; },
          [=](float v, long long j) {
            v += bias[j];
            return (float)scale * 0.5f * v * (1.0f + erff(v * 0.70710678f));
          });
}
