#include <float.h>
#include <stdlib.h>

// The largest of every column of the window first, into a padded row; then along that row.
static inline __attribute__((always_inline)) void pool_rows(
    const float *plane, float *dst, float *padded, long height, long width, long out_height,
    long out_width, const long kernel, const long stride, long padding) {
  for (long oy = 0; oy < out_height; oy++) {
    long top = oy * stride - padding;
    long low = top < 0 ? 0 : top;
    long high = top + kernel < height ? top + kernel : height;
    float *inner = padded + padding;
    for (long j = 0; j < width; j++) inner[j] = plane[low * width + j];
    for (long y = low + 1; y < high; y++) {
      const float *row = plane + y * width;
#pragma omp simd
      for (long j = 0; j < width; j++) inner[j] = row[j] > inner[j] ? row[j] : inner[j];
    }
#pragma omp simd
    for (long ox = 0; ox < out_width; ox++) {
      float best = padded[ox * stride];
      for (long k = 1; k < kernel; k++) {
        float v = padded[ox * stride + k];
        best = v > best ? v : best;
      }
      dst[oy * out_width + ox] = best;
    }
  }
}

extern "C" void run(const float *x, float *out, long planes, long height, long width,
                    long out_height, long out_width, long kernel, long stride, long padding) {
#pragma omp parallel num_threads(THREADS)
  {
    long padded_width = width + 2 * padding + kernel;
    float *padded = (float *)malloc(padded_width * sizeof(float));
    for (long j = 0; j < padded_width; j++) padded[j] = -FLT_MAX;
#pragma omp for schedule(dynamic, CHUNK)
    for (long p = 0; p < planes; p++) {
      const float *plane = x + p * height * width;
      float *dst = out + p * out_height * out_width;
      if (kernel == 3 && stride == 2)
        pool_rows(plane, dst, padded, height, width, out_height, out_width, 3, 2, padding);
      else if (kernel == 2 && stride == 2)
        pool_rows(plane, dst, padded, height, width, out_height, out_width, 2, 2, padding);
      else
        pool_rows(plane, dst, padded, height, width, out_height, out_width, kernel, stride,
                  padding);
    }
    free(padded);
  }
}
