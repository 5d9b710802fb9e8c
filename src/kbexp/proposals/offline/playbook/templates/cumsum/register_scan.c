#include <stdlib.h>
#include "common/vector.h"
#include "common/stream.h"

typedef int indices __attribute__((vector_size(4 * LANES)));

// Shift-and-add within a vector: log2(LANES) steps, then the sum of all before it is added.
static inline vec scan(vec v) {
  const vec zero = {};
#pragma GCC unroll 8
  for (int step = 1; step < LANES; step *= 2) {
    indices from;
    for (int l = 0; l < LANES; l++) from[l] = l < step ? l : LANES + l - step;
    v += __builtin_shuffle(zero, v, from);
  }
  return v;
}

extern "C" void run(const float *x, float *out, long rows, long cols) {
#pragma omp parallel num_threads(THREADS)
  {
    float *buffer = (float *)malloc(cols * sizeof(float));
#pragma omp for schedule(dynamic, CHUNK)
    for (long r = 0; r < rows; r++) {
      const float *row = x + r * cols;
      float carry = 0.0f;
      long j = 0;
      for (; j + LANES <= cols; j += LANES) {
        vec v = scan(load(row + j)) + carry;
        store(buffer + j, v);
        carry = v[LANES - 1];
      }
      for (; j < cols; j++) buffer[j] = carry += row[j];
      put(out + r * cols, buffer, cols);
    }
    free(buffer);
  }
}
