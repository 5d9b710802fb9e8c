#include <float.h>
#include <stdlib.h>
#include "common/exp.h"

// Blocks of the row are independent of each other: each has a maximum and a sum of its own, and
// they are joined at the end of the row.
extern "C" void run(const float *logits, const long *targets, float *out, long rows, long classes) {
  const long blocks = (classes + BLOCK - 1) / BLOCK;
#pragma omp parallel num_threads(THREADS)
  {
    float *tops = (float *)malloc(2 * blocks * sizeof(float)), *sums = tops + blocks;
#pragma omp for schedule(dynamic, CHUNK)
    for (long r = 0; r < rows; r++) {
      const float *row = logits + r * classes;
      float top = -FLT_MAX, sum = 0.0f;
      for (long b = 0; b < blocks; b++) {
        long start = b * BLOCK, end = start + BLOCK < classes ? start + BLOCK : classes;
        float block_top = row[start], block_sum = 0.0f;
#pragma omp simd reduction(max : block_top)
        for (long j = start; j < end; j++) block_top = row[j] > block_top ? row[j] : block_top;
#pragma omp simd reduction(+ : block_sum)
        for (long j = start; j < end; j++) block_sum += fast_exp(row[j] - block_top);
        tops[b] = block_top;
        sums[b] = block_sum;
        top = block_top > top ? block_top : top;
      }
      for (long b = 0; b < blocks; b++) sum += sums[b] * fast_exp(tops[b] - top);
      out[r] = targets[r] < 0 ? 0.0f : logf(sum) + top - row[targets[r]];
    }
    free(tops);
  }
}
