#include "common/exp.h"

extern "C" void run(const float *x, float *out, long rows, long cols) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    const float *row = x + r * cols;
    float *dst = out + r * cols;
    float top = row[0];
#pragma omp simd reduction(max : top)
    for (long j = 0; j < cols; j++) top = row[j] > top ? row[j] : top;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (long j = 0; j < cols; j++) {
      float e = fast_exp(row[j] - top);
      dst[j] = e;
      sum += e;
    }
    float scale = 1.0f / sum;
#pragma omp simd
    for (long j = 0; j < cols; j++) dst[j] *= scale;
  }
}
