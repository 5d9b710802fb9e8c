#include "common/exp.h"

extern "C" void run(const float *x, float *out, long rows, long hidden) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    const float *gate = x + r * 2 * hidden;
    const float *up = gate + hidden;
    float *dst = out + r * hidden;
#pragma omp simd
    for (long j = 0; j < hidden; j++) dst[j] = gate[j] * up[j] / (1.0f + fast_exp(-gate[j]));
  }
}
