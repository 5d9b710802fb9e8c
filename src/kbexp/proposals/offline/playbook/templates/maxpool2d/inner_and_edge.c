#include <float.h>

static inline float clipped(const float *plane, long height, long width, long y0, long x0,
                            long kernel) {
  float best = -FLT_MAX;
  for (long y = y0 < 0 ? 0 : y0; y < y0 + kernel && y < height; y++)
    for (long j = x0 < 0 ? 0 : x0; j < x0 + kernel && j < width; j++)
      best = plane[y * width + j] > best ? plane[y * width + j] : best;
  return best;
}

// Windows that lie inside are taken without a test, those at the edge one by one.
extern "C" void run(const float *x, float *out, long planes, long height, long width,
                    long out_height, long out_width, long kernel, long stride, long padding) {
  long first = (padding + stride - 1) / stride;
  long end = width + padding < kernel ? 0 : (width + padding - kernel) / stride + 1;
  end = end > out_width ? out_width : end;
  first = first > end ? end : first;
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long p = 0; p < planes; p++) {
    const float *plane = x + p * height * width;
    for (long oy = 0; oy < out_height; oy++) {
      float *dst = out + (p * out_height + oy) * out_width;
      long y0 = oy * stride - padding;
      for (long ox = 0; ox < first; ox++)
        dst[ox] = clipped(plane, height, width, y0, ox * stride - padding, kernel);
      for (long ox = first; ox < end; ox++) dst[ox] = -FLT_MAX;
      for (long y = y0 < 0 ? 0 : y0; y < y0 + kernel && y < height; y++)
        for (long k = 0; k < kernel; k++) {
          const float *row = plane + y * width + k - padding;
#pragma omp simd
          for (long ox = first; ox < end; ox++) {
            float v = row[ox * stride];
            dst[ox] = v > dst[ox] ? v : dst[ox];
          }
        }
      for (long ox = end; ox < out_width; ox++)
        dst[ox] = clipped(plane, height, width, y0, ox * stride - padding, kernel);
    }
  }
}
