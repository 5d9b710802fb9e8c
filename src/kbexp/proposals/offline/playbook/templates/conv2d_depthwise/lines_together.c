#include <stdlib.h>
#include <string.h>
#include "common/vector.h"

// LINES lines of output at a time in registers: a line of input is loaded once for all of them.
static inline __attribute__((always_inline)) void filter(
    const float *frame, const float *weight, float bias, float *dst, long out_height,
    long out_width, long pitch, const long kernel) {
  for (long oy = 0; oy < out_height; oy += LINES)
    for (long ox = 0; ox < out_width; ox += LANES) {
      vec sum[LINES];
#pragma GCC unroll 8
      for (int i = 0; i < LINES; i++) sum[i] = (vec){} + bias;
#pragma GCC unroll 16
      for (int y = 0; y < LINES + kernel - 1; y++)
#pragma GCC unroll 5
        for (int kx = 0; kx < kernel; kx++) {
          vec v = load(frame + (oy + y) * pitch + ox + kx);
#pragma GCC unroll 8
          for (int i = 0; i < LINES; i++)
            if (y >= i && y - i < kernel) sum[i] += weight[(y - i) * kernel + kx] * v;
        }
      for (int i = 0; i < LINES && oy + i < out_height; i++) {
        float *line = dst + (oy + i) * out_width + ox;
        if (ox + LANES <= out_width) store(line, sum[i]);
        else for (long l = 0; l < out_width - ox; l++) line[l] = sum[i][l];
      }
    }
}

extern "C" void run(const float *x, const float *weight, const float *bias, float *out, long batch,
                    long channels, long height, long width, long kernel) {
  long padding = kernel / 2, edge = 2 * padding - kernel + 1;
  long pitch = width + 2 * padding + LANES, tall = height + 2 * padding + LINES;
  long out_height = height + edge, out_width = width + edge;
#pragma omp parallel num_threads(THREADS)
  {
    float *frame = (float *)calloc(tall * pitch, sizeof(float));
#pragma omp for schedule(dynamic, CHUNK)
    for (long p = 0; p < batch * channels; p++) {
      const float *plane = x + p * height * width;
      const float *taps = weight + p % channels * kernel * kernel;
      float *dst = out + p * out_height * out_width;
      for (long y = 0; y < height; y++)
        memcpy(frame + (y + padding) * pitch + padding, plane + y * width, width * sizeof(float));
      if (kernel == 3)
        filter(frame, taps, bias[p % channels], dst, out_height, out_width, pitch, 3);
      else
        filter(frame, taps, bias[p % channels], dst, out_height, out_width, pitch, kernel);
    }
    free(frame);
  }
}
