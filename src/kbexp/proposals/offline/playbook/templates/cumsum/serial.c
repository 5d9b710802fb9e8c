extern "C" void run(const float *x, float *out, long rows, long cols) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    float sum = 0.0f;
    for (long j = 0; j < cols; j++) {
      sum += x[r * cols + j];
      out[r * cols + j] = sum;
    }
  }
}
