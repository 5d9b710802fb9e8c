#include "common/stream.h"
#include <stdlib.h>

// One tap at a time over a whole output line, each over the part of the line that it reaches.
extern "C" void run(const float *x, const float *weight, const float *bias, float *out, long batch,
                    long channels, long height, long width, long kernel) {
  long padding = kernel / 2, edge = 2 * padding - kernel + 1;
  long out_height = height + edge, out_width = width + edge;
#pragma omp parallel num_threads(THREADS)
  {
    float *line = (float *)aligned_alloc(64, (out_width * sizeof(float) + 63) / 64 * 64);
#pragma omp for schedule(dynamic, CHUNK)
    for (long p = 0; p < batch * channels; p++) {
      const float *plane = x + p * height * width;
      const float *taps = weight + p % channels * kernel * kernel;
      for (long oy = 0; oy < out_height; oy++) {
        for (long ox = 0; ox < out_width; ox++) line[ox] = bias[p % channels];
        for (long ky = 0; ky < kernel; ky++) {
          long y = oy + ky - padding;
          if (y < 0 || y >= height) continue;
          for (long kx = 0; kx < kernel; kx++) {
            long shift = kx - padding;
            long first = shift < 0 ? -shift : 0;
            long end = width - shift < out_width ? width - shift : out_width;
            const float *row = plane + y * width + shift;
            float tap = taps[ky * kernel + kx];
#pragma omp simd
            for (long ox = first; ox < end; ox++) line[ox] += tap * row[ox];
          }
        }
        put(out + (p * out_height + oy) * out_width, line, out_width);
      }
    }
    free(line);
  }
}
