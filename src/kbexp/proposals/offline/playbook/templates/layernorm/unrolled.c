#include <math.h>
#include "common/vector.h"

// Vectors by hand, UNROLL sums at once; the row is read twice, its second time from the cache.
extern "C" void run(const float *x, const float *weight, const float *bias, float *out, long rows,
                    long cols, float eps) {
  const long step = (long)LANES * UNROLL;
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    const float *row = x + r * cols;
    float *dst = out + r * cols;
    vec sums[UNROLL] = {}, squares[UNROLL] = {};
    float sum = 0.0f, square = 0.0f, shift = row[0];
    long j = 0;
    for (; j + step <= cols; j += step)
      for (int u = 0; u < UNROLL; u++) {
        vec d = load(row + j + u * LANES) - shift;
        sums[u] += d;
        squares[u] += d * d;
      }
    for (; j < cols; j++) {
      sum += row[j] - shift;
      square += (row[j] - shift) * (row[j] - shift);
    }
    for (int u = 0; u < UNROLL; u++)
      for (int l = 0; l < LANES; l++) {
        sum += sums[u][l];
        square += squares[u][l];
      }
    float rest = sum / cols;
    float mean = rest + shift;
    float scale = 1.0f / sqrtf(square / cols - rest * rest + eps);
    for (j = 0; j + LANES <= cols; j += LANES)
      store(dst + j, (load(row + j) - mean) * scale * load(weight + j) + load(bias + j));
    for (; j < cols; j++) dst[j] = (row[j] - mean) * scale * weight[j] + bias[j];
  }
}
