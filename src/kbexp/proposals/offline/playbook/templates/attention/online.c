#include <float.h>
#include <stdlib.h>
#include "common/exp.h"

// One query at a time, KEYS keys at once; results are scaled again where a larger score turns up.
extern "C" void run(const float *q, const float *k, const float *v, float *out, long heads,
                    long length, long dim, float scale) {
#pragma omp parallel num_threads(THREADS)
  {
    float *sums = (float *)malloc(dim * sizeof(float));
#pragma omp for schedule(dynamic, 1)
    for (long h = 0; h < heads; h++) {
      const float *kh = k + h * length * dim, *vh = v + h * length * dim;
      for (long i = 0; i < length; i++) {
        const float *query = q + (h * length + i) * dim;
        float top = -FLT_MAX, total = 0.0f;
        for (long d = 0; d < dim; d++) sums[d] = 0.0f;
        for (long start = 0; start <= i; start += KEYS) {
          float scores[KEYS];
          long n = i + 1 - start < KEYS ? i + 1 - start : KEYS;
          float higher = top;
          for (long j = 0; j < n; j++) {
            const float *key = kh + (start + j) * dim;
            float score = 0.0f;
#pragma omp simd reduction(+ : score)
            for (long d = 0; d < dim; d++) score += query[d] * key[d];
            scores[j] = score * scale;
            higher = scores[j] > higher ? scores[j] : higher;
          }
          float rescale = start == 0 ? 0.0f : fast_exp(top - higher);
          top = higher;
          total *= rescale;
          for (long d = 0; d < dim; d++) sums[d] *= rescale;
          for (long j = 0; j < n; j++) {
            float weight = fast_exp(scores[j] - top);
            const float *value = vh + (start + j) * dim;
            total += weight;
#pragma omp simd
            for (long d = 0; d < dim; d++) sums[d] += weight * value[d];
          }
        }
        for (long d = 0; d < dim; d++) out[(h * length + i) * dim + d] = sums[d] / total;
      }
    }
    free(sums);
  }
}
