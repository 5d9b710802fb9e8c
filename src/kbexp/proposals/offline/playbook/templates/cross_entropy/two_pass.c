#include "common/exp.h"

// The largest logit, then the sum of exponentials while the row is still in the cache.
extern "C" void run(const float *logits, const long *targets, float *out, long rows, long classes) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    const float *row = logits + r * classes;
    float top = row[0];
#pragma omp simd reduction(max : top)
    for (long j = 0; j < classes; j++) top = row[j] > top ? row[j] : top;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (long j = 0; j < classes; j++) sum += fast_exp(row[j] - top);
    out[r] = targets[r] < 0 ? 0.0f : logf(sum) + top - row[targets[r]];
  }
}
