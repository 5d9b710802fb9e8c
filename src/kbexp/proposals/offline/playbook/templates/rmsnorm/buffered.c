#include <math.h>
#include <stdlib.h>
#include "common/stream.h"

extern "C" void run(const float *x, const float *weight, float *out, long rows, long cols,
                    float eps) {
#pragma omp parallel num_threads(THREADS)
  {
    float *buffer = (float *)malloc(cols * sizeof(float));
#pragma omp for schedule(dynamic, CHUNK)
    for (long r = 0; r < rows; r++) {
      const float *row = x + r * cols;
      float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
      for (long j = 0; j < cols; j++) squares += row[j] * row[j];
      float scale = 1.0f / sqrtf(squares / cols + eps);
#pragma omp simd
      for (long j = 0; j < cols; j++) buffer[j] = row[j] * scale * weight[j];
      put(out + r * cols, buffer, cols);
    }
    free(buffer);
  }
}
