#include "common/vector.h"

// The same by hand, UNROLL vectors at a time.
extern "C" void run(const float *a, const float *b, float *out, long rows, long cols) {
  const long step = (long)LANES * UNROLL;
#pragma omp parallel for num_threads(THREADS) schedule(static)
  for (long r = 0; r < rows; r++) {
    const float *row = b + r * cols;
    float *dst = out + r * cols;
    long j = 0;
    for (; j + step <= cols; j += step)
      for (int u = 0; u < UNROLL; u++) store(dst + j + u * LANES, load(row + j + u * LANES) * a[r]);
    for (; j < cols; j++) dst[j] = row[j] * a[r];
  }
}
