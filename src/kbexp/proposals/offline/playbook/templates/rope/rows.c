extern "C" void run(const float *q, const float *cosine, const float *sine, float *out, long heads,
                    long length, long dim) {
  long half = dim / 2;
#pragma omp parallel for num_threads(THREADS) schedule(static)
  for (long r = 0; r < heads * length; r++) {
    const float *row = q + r * dim, *c = cosine + r % length * dim, *s = sine + r % length * dim;
    float *dst = out + r * dim;
#pragma omp simd
    for (long j = 0; j < half; j++) dst[j] = row[j] * c[j] - row[j + half] * s[j];
#pragma omp simd
    for (long j = half; j < dim; j++) dst[j] = row[j] * c[j] + row[j - half] * s[j];
  }
}
