// ROWS rows side by side, so that one addition need not wait for the one before it.
extern "C" void run(const float *x, float *out, long rows, long cols) {
  const long groups = (rows + ROWS - 1) / ROWS;
#pragma omp parallel for num_threads(THREADS) schedule(static)
  for (long g = 0; g < groups; g++) {
    const float *src = x + g * ROWS * cols;
    float *dst = out + g * ROWS * cols;
    if (rows - g * ROWS >= ROWS) {
      float sum[ROWS] = {};
      for (long j = 0; j < cols; j++)
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) {
          sum[i] += src[i * cols + j];
          dst[i * cols + j] = sum[i];
        }
    } else {
      for (long i = 0; i < rows - g * ROWS; i++) {
        float sum = 0.0f;
        for (long j = 0; j < cols; j++) {
          sum += src[i * cols + j];
          dst[i * cols + j] = sum;
        }
      }
    }
  }
}
