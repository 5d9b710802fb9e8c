// A bag's rows are added to its output one by one, the one AHEAD already on its way.
extern "C" void run(const float *table, const long *indices, float *out, long bags, long size,
                    long dim) {
#pragma omp parallel for num_threads(THREADS) schedule(dynamic, CHUNK)
  for (long b = 0; b < bags; b++) {
    const long *bag = indices + b * size;
    float *dst = out + b * dim;
    for (long j = 0; j < dim; j++) dst[j] = 0.0f;
    for (long i = 0; i < size; i++) {
      if (AHEAD && i + AHEAD < size)
        for (long j = 0; j < dim; j += 16) __builtin_prefetch(table + bag[i + AHEAD] * dim + j);
      const float *row = table + bag[i] * dim;
#pragma omp simd
      for (long j = 0; j < dim; j++) dst[j] += row[j];
    }
  }
}
