#include <stdlib.h>
#include "common/stream.h"

// BLOCK positions of all heads in turn: their cosines and sines stay in the first cache.
extern "C" void run(const float *q, const float *cosine, const float *sine, float *out, long heads,
                    long length, long dim) {
  long half = dim / 2, blocks = (length + BLOCK - 1) / BLOCK;
#pragma omp parallel num_threads(THREADS)
  {
    float *buffer = (float *)aligned_alloc(64, (dim * sizeof(float) + 63) / 64 * 64);
#pragma omp for schedule(static)
    for (long p = 0; p < blocks; p++)
      for (long h = 0; h < heads; h++)
        for (long i = p * BLOCK; i < (p + 1) * BLOCK && i < length; i++) {
          const float *row = q + (h * length + i) * dim, *c = cosine + i * dim, *s = sine + i * dim;
#pragma omp simd
          for (long j = 0; j < half; j++) {
            buffer[j] = row[j] * c[j] - row[j + half] * s[j];
            buffer[j + half] = row[j + half] * c[j + half] + row[j] * s[j + half];
          }
          put(out + (h * length + i) * dim, buffer, dim);
        }
    free(buffer);
  }
}
