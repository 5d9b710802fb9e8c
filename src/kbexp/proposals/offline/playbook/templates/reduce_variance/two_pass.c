// BLOCK columns at a time: first their means, then the squares about them.
extern "C" void run(const float *x, float *out, long batch, long length, long features) {
  const long blocks = (features + BLOCK - 1) / BLOCK;
  float *means = out, *variances = out + batch * features;
#pragma omp parallel for num_threads(THREADS) schedule(static)
  for (long p = 0; p < batch * blocks; p++) {
    long b = p / blocks, start = p % blocks * BLOCK;
    long n = features - start < BLOCK ? features - start : BLOCK;
    const float *first = x + b * length * features + start;
    float mean[BLOCK] = {}, squares[BLOCK] = {};
    for (long i = 0; i < length; i++)
#pragma omp simd
      for (long j = 0; j < n; j++) mean[j] += first[i * features + j];
    for (long j = 0; j < n; j++) mean[j] /= length;
    for (long i = 0; i < length; i++)
#pragma omp simd
      for (long j = 0; j < n; j++) {
        float d = first[i * features + j] - mean[j];
        squares[j] += d * d;
      }
    for (long j = 0; j < n; j++) {
      means[b * features + start + j] = mean[j];
      variances[b * features + start + j] = squares[j] / length;
    }
  }
}
