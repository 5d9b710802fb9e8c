// A diagonal matrix scales rows; there is nothing to add up.
extern "C" void run(const float *a, const float *b, float *out, long rows, long cols) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++) {
    float scale = a[r];
#pragma omp simd
    for (long j = 0; j < cols; j++) out[r * cols + j] = scale * b[r * cols + j];
  }
}
