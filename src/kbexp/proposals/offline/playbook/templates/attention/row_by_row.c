#include <stdlib.h>
#include "common/exp.h"

// One query at a time, over the keys up to its own; keys are transposed once a head.
extern "C" void run(const float *q, const float *k, const float *v, float *out, long heads,
                    long length, long dim, float scale) {
#pragma omp parallel num_threads(THREADS)
  {
    float *keys = (float *)malloc(length * dim * sizeof(float));
    float *scores = (float *)malloc(length * sizeof(float));
#pragma omp for schedule(dynamic, 1)
    for (long h = 0; h < heads; h++) {
      const float *kh = k + h * length * dim, *vh = v + h * length * dim;
      for (long j = 0; j < length; j++)
        for (long d = 0; d < dim; d++) keys[d * length + j] = kh[j * dim + d];
      for (long i = 0; i < length; i++) {
        const float *query = q + (h * length + i) * dim;
        float *dst = out + (h * length + i) * dim;
        long n = i + 1;
        for (long j = 0; j < n; j++) scores[j] = 0.0f;
        for (long d = 0; d < dim; d++) {
          float factor = query[d] * scale;
#pragma omp simd
          for (long j = 0; j < n; j++) scores[j] += factor * keys[d * length + j];
        }
        float top = scores[0];
#pragma omp simd reduction(max : top)
        for (long j = 0; j < n; j++) top = scores[j] > top ? scores[j] : top;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (long j = 0; j < n; j++) sum += scores[j] = fast_exp(scores[j] - top);
        for (long d = 0; d < dim; d++) dst[d] = 0.0f;
        for (long j = 0; j < n; j++) {
          float weight = scores[j] / sum;
#pragma omp simd
          for (long d = 0; d < dim; d++) dst[d] += weight * vh[j * dim + d];
        }
      }
    }
    free(keys);
    free(scores);
  }
}
