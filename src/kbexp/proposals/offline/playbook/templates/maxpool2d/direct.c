#include <float.h>

// Every output looks at its whole window.
extern "C" void run(const float *x, float *out, long planes, long height, long width,
                    long out_height, long out_width, long kernel, long stride, long padding) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long p = 0; p < planes; p++) {
    const float *plane = x + p * height * width;
    for (long oy = 0; oy < out_height; oy++)
      for (long ox = 0; ox < out_width; ox++) {
        float best = -FLT_MAX;
        for (long ky = 0; ky < kernel; ky++) {
          long y = oy * stride - padding + ky;
          if (y < 0 || y >= height) continue;
          for (long kx = 0; kx < kernel; kx++) {
            long j = ox * stride - padding + kx;
            if (j < 0 || j >= width) continue;
            best = plane[y * width + j] > best ? plane[y * width + j] : best;
          }
        }
        out[(p * out_height + oy) * out_width + ox] = best;
      }
  }
}
