#include <stdlib.h>
#include <string.h>

// The rows of a bag side by side in a buffer, then their sums.
extern "C" void run(const float *table, const long *indices, float *out, long bags, long size,
                    long dim) {
#pragma omp parallel num_threads(THREADS)
  {
    float *rows = (float *)malloc(size * dim * sizeof(float));
#pragma omp for schedule(dynamic, CHUNK)
    for (long b = 0; b < bags; b++) {
      float *dst = out + b * dim;
      for (long i = 0; i < size; i++)
        memcpy(rows + i * dim, table + indices[b * size + i] * dim, dim * sizeof(float));
      for (long j = 0; j < dim; j++) {
        float sum = 0.0f;
        for (long i = 0; i < size; i++) sum += rows[i * dim + j];
        dst[j] = sum;
      }
    }
    free(rows);
  }
}
