#include "common/gelu.h"

// A row of the result at a time, BLOCK columns at once, finished before it is stored.
extern "C" int run(const float *x, const float *weight, const float *bias, float *out, long rows,
                   long depth, long cols, float scale) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++)
    for (long start = 0; start < cols; start += BLOCK) {
      long n = cols - start < BLOCK ? cols - start : BLOCK;
      float sum[BLOCK] = {};
      for (long k = 0; k < depth; k++) {
        float factor = x[r * depth + k];
        const float *row = weight + k * cols + start;
#pragma omp simd
        for (long j = 0; j < n; j++) sum[j] += factor * row[j];
      }
#pragma omp simd
      for (long j = 0; j < n; j++)
        out[r * cols + start + j] = scale * gelu(sum[j] + bias[start + j]);
    }
  return 0;
}
