#include "common/vector.h"

// UNROLL vectors of a bag's sum stay in registers while its rows go by; rows of the next bag
// are asked for AHEAD of time.
extern "C" void run(const float *table, const long *indices, float *out, long bags, long size,
                    long dim) {
  const long width = (long)LANES * UNROLL;
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long b = 0; b < bags; b++) {
    const long *bag = indices + b * size;
    float *dst = out + b * dim;
    long j = 0;
    for (; j + width <= dim; j += width) {
      vec sum[UNROLL] = {};
      for (long i = 0; i < size; i++) {
        if (AHEAD && b * size + i + AHEAD < bags * size)
          for (long k = 0; k < width; k += 16)
            __builtin_prefetch(table + bag[i + AHEAD] * dim + j + k);
        const float *row = table + bag[i] * dim + j;
        for (int u = 0; u < UNROLL; u++) sum[u] += load(row + u * LANES);
      }
      for (int u = 0; u < UNROLL; u++) store(dst + j + u * LANES, sum[u]);
    }
    for (; j < dim; j++) {
      float sum = 0.0f;
      for (long i = 0; i < size; i++) sum += table[bag[i] * dim + j];
      dst[j] = sum;
    }
  }
}
