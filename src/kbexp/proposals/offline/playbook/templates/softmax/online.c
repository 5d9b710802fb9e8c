#include <float.h>
#include "common/exp.h"
#include "common/stream.h"

// The largest value and the sum are found together, BLOCK columns at a time; a second pass
// takes the exponentials again, so that nothing is kept between the two.
extern "C" void run(const float *x, float *out, long rows, long cols) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    const float *row = x + r * cols;
    float top = -FLT_MAX, sum = 0.0f;
    for (long start = 0; start < cols; start += BLOCK) {
      long end = start + BLOCK < cols ? start + BLOCK : cols;
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
    float scale = 1.0f / sum;
    float buffer[BLOCK];
    for (long start = 0; start < cols; start += BLOCK) {
      long n = cols - start < BLOCK ? cols - start : BLOCK;
#pragma omp simd
      for (long j = 0; j < n; j++) buffer[j] = fast_exp(row[start + j] - top) * scale;
      put(out + r * cols + start, buffer, n);
    }
  }
}
