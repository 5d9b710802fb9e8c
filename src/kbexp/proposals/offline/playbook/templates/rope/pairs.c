#include "common/vector.h"

// Both halves of a pair at once, so that the row is read once.
extern "C" void run(const float *q, const float *cosine, const float *sine, float *out, long heads,
                    long length, long dim) {
  long half = dim / 2;
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long h = 0; h < heads; h++)
    for (long i = 0; i < length; i++) {
      const float *row = q + (h * length + i) * dim, *c = cosine + i * dim, *s = sine + i * dim;
      float *dst = out + (h * length + i) * dim;
      long j = 0;
      for (; j + LANES <= half; j += LANES) {
        vec a = load(row + j), b = load(row + half + j);
        store(dst + j, a * load(c + j) - b * load(s + j));
        store(dst + half + j, b * load(c + half + j) + a * load(s + half + j));
      }
      for (; j < half; j++) {
        float a = row[j], b = row[half + j];
        dst[j] = a * c[j] - b * s[j];
        dst[half + j] = b * c[half + j] + a * s[half + j];
      }
    }
}
