#include <math.h>

// Sum and sum of squares together, of values shifted by the row's first, so that a mean far
// from zero takes no digits away.
extern "C" void run(const float *x, const float *weight, const float *bias, float *out, long rows,
                    long cols, float eps) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    const float *row = x + r * cols;
    float *dst = out + r * cols;
    float shift = row[0], sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum, squares)
    for (long j = 0; j < cols; j++) {
      float d = row[j] - shift;
      sum += d;
      squares += d * d;
    }
    float rest = sum / cols;
    float mean = shift + rest;
    float scale = 1.0f / sqrtf(squares / cols - rest * rest + eps);
#pragma omp simd
    for (long j = 0; j < cols; j++) dst[j] = (row[j] - mean) * scale * weight[j] + bias[j];
  }
}
