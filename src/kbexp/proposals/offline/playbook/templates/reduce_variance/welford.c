#include "common/vector.h"

// Welford's running mean and variance in registers, UNROLL vectors of columns at a time.
extern "C" void run(const float *x, float *out, long batch, long length, long features) {
  const long width = (long)LANES * UNROLL;
  const long blocks = (features + width - 1) / width;
  float *means = out, *variances = out + batch * features;
#pragma omp parallel for num_threads(THREADS) schedule(static)
  for (long p = 0; p < batch * blocks; p++) {
    long b = p / blocks, start = p % blocks * width;
    const float *first = x + b * length * features + start;
    float *mean_out = means + b * features + start, *var_out = variances + b * features + start;
    if (features - start >= width) {
      vec mean[UNROLL] = {}, squares[UNROLL] = {};
      for (long i = 0; i < length; i++) {
        float share = 1.0f / (i + 1);
        for (int u = 0; u < UNROLL; u++) {
          vec v = load(first + i * features + u * LANES);
          vec d = v - mean[u];
          mean[u] += d * share;
          squares[u] += d * (v - mean[u]);
        }
      }
      for (int u = 0; u < UNROLL; u++) {
        store(mean_out + u * LANES, mean[u]);
        store(var_out + u * LANES, squares[u] / (float)length);
      }
    } else {
      for (long j = 0; j < features - start; j++) {
        float mean = 0.0f, squares = 0.0f;
        for (long i = 0; i < length; i++) {
          float v = first[i * features + j], d = v - mean;
          mean += d / (i + 1);
          squares += d * (v - mean);
        }
        mean_out[j] = mean;
        var_out[j] = squares / length;
      }
    }
  }
}
