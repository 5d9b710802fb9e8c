#include "common/exp.h"
#include "common/stream.h"

// BLOCK results at a time are finished in a buffer and put out in one go.
extern "C" void run(const float *x, float *out, long rows, long hidden) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    const float *gate = x + r * 2 * hidden;
    const float *up = gate + hidden;
    float buffer[BLOCK];
    for (long start = 0; start < hidden; start += BLOCK) {
      long n = hidden - start < BLOCK ? hidden - start : BLOCK;
#pragma omp simd
      for (long j = 0; j < n; j++) {
        float g = gate[start + j];
        buffer[j] = g * up[start + j] / (1.0f + fast_exp(-g));
      }
      put(out + r * hidden + start, buffer, n);
    }
  }
}
