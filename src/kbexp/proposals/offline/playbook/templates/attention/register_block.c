#include <float.h>
#include <stdlib.h>
#include <string.h>
#include "common/exp.h"
#include "common/vector.h"

static inline void multiply(const float *left, long pitch, const float *right, long stride,
                            long depth, vec sums[ROWS][COLUMNS]) {
  for (long d = 0; d < depth; d++)
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
      for (int c = 0; c < COLUMNS; c++)
        sums[i][c] += left[i * pitch + d] * load(right + d * stride + c * LANES);
}

// ROWS queries at a time: scores and results in registers, COLUMNS vectors of them.
extern "C" void run(const float *q, const float *k, const float *v, float *out, long heads,
                    long length, long dim, float scale) {
  const long width = (long)LANES * COLUMNS;
  const long keys_pitch = (length + width - 1) / width * width;
  const long dim_pitch = (dim + width - 1) / width * width;
#pragma omp parallel num_threads(THREADS)
  {
    float *keys = (float *)calloc(keys_pitch * dim, sizeof(float));
    float *values = (float *)calloc(length * dim_pitch, sizeof(float));
    float *queries = (float *)calloc(ROWS * dim, sizeof(float));
    float *scores = (float *)calloc(ROWS * keys_pitch, sizeof(float));
#pragma omp for schedule(dynamic, 1)
    for (long h = 0; h < heads; h++) {
      for (long j = 0; j < length; j++) {
        for (long d = 0; d < dim; d++) keys[d * keys_pitch + j] = k[(h * length + j) * dim + d];
        memcpy(values + j * dim_pitch, v + (h * length + j) * dim, dim * sizeof(float));
      }
      for (long first = 0; first < length; first += ROWS) {
        long count = length - first < ROWS ? length - first : ROWS;
        for (long e = 0; e < count * dim; e++)
          queries[e] = q[(h * length + first) * dim + e] * scale;
        long reach = first + count;
        for (long j = 0; j < reach; j += width) {
          vec sums[ROWS][COLUMNS] = {};
          multiply(queries, dim, keys + j, keys_pitch, dim, sums);
          for (int i = 0; i < ROWS; i++)
            for (int c = 0; c < COLUMNS; c++)
              store(scores + i * keys_pitch + j + c * LANES, sums[i][c]);
        }
        float inverse[ROWS] = {};
        for (long i = 0; i < count; i++) {
          float *row = scores + i * keys_pitch;
          long n = first + i + 1;
          float top = row[0], sum = 0.0f;
#pragma omp simd reduction(max : top)
          for (long j = 0; j < n; j++) top = row[j] > top ? row[j] : top;
#pragma omp simd reduction(+ : sum)
          for (long j = 0; j < n; j++) sum += row[j] = fast_exp(row[j] - top);
          for (long j = n; j < reach; j++) row[j] = 0.0f;
          inverse[i] = 1.0f / sum;
        }
        for (long d = 0; d < dim; d += width) {
          vec sums[ROWS][COLUMNS] = {};
          multiply(scores, keys_pitch, values + d, dim_pitch, reach, sums);
          long n = dim - d < width ? dim - d : width;
          for (long i = 0; i < count; i++) {
            float line[LANES * COLUMNS];
            for (int c = 0; c < COLUMNS; c++) store(line + c * LANES, sums[i][c] * inverse[i]);
            memcpy(out + (h * length + first + i) * dim + d, line, n * sizeof(float));
          }
        }
      }
    }
    free(keys);
    free(values);
    free(queries);
    free(scores);
  }
}
