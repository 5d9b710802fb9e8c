#include <float.h>
#include "common/exp.h"

// One pass: BLOCK classes at a time, the sum scaled again where a larger logit turns up.
extern "C" void run(const float *logits, const long *targets, float *out, long rows, long classes) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    const float *row = logits + r * classes;
    float top = -FLT_MAX, sum = 0.0f;
    for (long start = 0; start < classes; start += BLOCK) {
      long end = start + BLOCK < classes ? start + BLOCK : classes;
      float block_top = row[start];
#pragma omp simd reduction(max : block_top)
      for (long j = start; j < end; j++) block_top = row[j] > block_top ? row[j] : block_top;
      if (block_top > top) {
        sum *= fast_exp(top - block_top);
        top = block_top;
      }
      float block_sum = 0.0f;
#pragma omp simd reduction(+ : block_sum)
      for (long j = start; j < end; j++) block_sum += fast_exp(row[j] - top);
      sum += block_sum;
    }
    out[r] = targets[r] < 0 ? 0.0f : logf(sum) + top - row[targets[r]];
  }
}
