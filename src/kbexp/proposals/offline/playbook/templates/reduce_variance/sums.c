// BLOCK columns at a time: sums and sums of squares, shifted by the first value of the column.
extern "C" void run(const float *x, float *out, long batch, long length, long features) {
  const long blocks = (features + BLOCK - 1) / BLOCK;
  float *means = out, *variances = out + batch * features;
#pragma omp parallel for num_threads(THREADS) schedule(static)
  for (long p = 0; p < batch * blocks; p++) {
    long b = p / blocks, start = p % blocks * BLOCK;
    long n = features - start < BLOCK ? features - start : BLOCK;
    const float *first = x + b * length * features + start;
    float sum[BLOCK] = {}, squares[BLOCK] = {};
    for (long i = 0; i < length; i++) {
      const float *row = first + i * features;
#pragma omp simd
      for (long j = 0; j < n; j++) {
        float d = row[j] - first[j];
        sum[j] += d;
        squares[j] += d * d;
      }
    }
#pragma omp simd
    for (long j = 0; j < n; j++) {
      float rest = sum[j] / length;
      means[b * features + start + j] = first[j] + rest;
      variances[b * features + start + j] = squares[j] / length - rest * rest;
    }
  }
}
