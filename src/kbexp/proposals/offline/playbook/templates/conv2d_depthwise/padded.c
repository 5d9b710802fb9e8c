#include <stdlib.h>
#include <string.h>

// A plane is copied into a frame of zeros; then no window needs a test.
static inline __attribute__((always_inline)) void filter(
    const float *frame, const float *weight, float bias, float *dst, long out_height,
    long out_width, long pitch, const long kernel) {
  for (long oy = 0; oy < out_height; oy++) {
    float *line = dst + oy * out_width;
#pragma omp simd
    for (long ox = 0; ox < out_width; ox++) {
      float sum = bias;
#pragma GCC unroll 5
      for (long ky = 0; ky < kernel; ky++)
#pragma GCC unroll 5
        for (long kx = 0; kx < kernel; kx++)
          sum += weight[ky * kernel + kx] * frame[(oy + ky) * pitch + ox + kx];
      line[ox] = sum;
    }
  }
}

extern "C" void run(const float *x, const float *weight, const float *bias, float *out, long batch,
                    long channels, long height, long width, long kernel) {
  long padding = kernel / 2, edge = 2 * padding - kernel + 1;
  long pitch = width + 2 * padding, tall = height + 2 * padding;
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
      else if (kernel == 5)
        filter(frame, taps, bias[p % channels], dst, out_height, out_width, pitch, 5);
      else
        filter(frame, taps, bias[p % channels], dst, out_height, out_width, pitch, kernel);
    }
    free(frame);
  }
}
