#include <math.h>
#include "common/vector.h"

// Vectors by hand, UNROLL sums at once.
extern "C" void run(const float *x, const float *weight, float *out, long rows, long cols,
                    float eps) {
  const long step = (long)LANES * UNROLL;
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    const float *row = x + r * cols;
    float *dst = out + r * cols;
    vec squares[UNROLL] = {};
    float square = 0.0f;
    long j = 0;
    for (; j + step <= cols; j += step)
      for (int u = 0; u < UNROLL; u++) {
        vec v = load(row + j + u * LANES);
        squares[u] += v * v;
      }
    for (; j < cols; j++) square += row[j] * row[j];
    for (int u = 0; u < UNROLL; u++)
      for (int l = 0; l < LANES; l++) square += squares[u][l];
    float scale = 1.0f / sqrtf(square / cols + eps);
    for (j = 0; j + LANES <= cols; j += LANES)
      store(dst + j, load(row + j) * scale * load(weight + j));
    for (; j < cols; j++) dst[j] = row[j] * scale * weight[j];
  }
}
