// A row of the result at a time: rows of the right side, scaled and added up, BLOCK columns at once.
extern "C" int run(const float *a, const float *b, float *out, long rows, long depth, long cols) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long r = 0; r < rows; r++)
    for (long start = 0; start < cols; start += BLOCK) {
      long n = cols - start < BLOCK ? cols - start : BLOCK;
      float sum[BLOCK] = {};
      for (long k = 0; k < depth; k++) {
        float factor = a[r * depth + k];
        const float *row = b + k * cols + start;
#pragma omp simd
        for (long j = 0; j < n; j++) sum[j] += factor * row[j];
      }
      for (long j = 0; j < n; j++) out[r * cols + start + j] = sum[j];
    }
  return 0;
}
