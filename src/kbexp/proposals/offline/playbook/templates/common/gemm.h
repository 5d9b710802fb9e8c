#include <stdlib.h>
#include "common/vector.h"

// rows x depth times depth x cols. The right side is packed once into panels of COLUMNS vectors,
// padded with zeros; ROWS rows by one panel of results stay in registers. `finish` maps a
// result and its column to what is stored.
constexpr long WIDTH = (long)LANES * COLUMNS;

static inline void block(const float *const *a, const float *panel, long depth,
                         vec sums[ROWS][COLUMNS]) {
  for (long k = 0; k < depth; k++) {
    vec right[COLUMNS];
#pragma GCC unroll 8
    for (int c = 0; c < COLUMNS; c++) right[c] = load(panel + k * WIDTH + c * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
      for (int c = 0; c < COLUMNS; c++) sums[i][c] += a[i][k] * right[c];
  }
}

template <class Finish>
static void multiply(const float *a, const float *b, float *out, long rows, long depth, long cols,
                     Finish finish) {
  const long panels = (cols + WIDTH - 1) / WIDTH;
  const long tiles = (rows + TILE - 1) / TILE;
  float *packed = (float *)aligned_alloc(64, (panels * depth * WIDTH * sizeof(float) + 63) / 64 * 64);
#pragma omp parallel num_threads(THREADS)
  {
#pragma omp for collapse(2) schedule(static)
    for (long p = 0; p < panels; p++)
      for (long k = 0; k < depth; k++) {
        float *dst = packed + (p * depth + k) * WIDTH;
        for (long j = 0; j < WIDTH; j++)
          dst[j] = p * WIDTH + j < cols ? b[k * cols + p * WIDTH + j] : 0.0f;
      }
#pragma omp for schedule(dynamic, 1)
    for (long t = 0; t < tiles; t++) {
      long end = (t + 1) * TILE < rows ? (t + 1) * TILE : rows;
      for (long p = 0; p < panels; p++) {
        long n = cols - p * WIDTH < WIDTH ? cols - p * WIDTH : WIDTH;
        for (long r = t * TILE; r < end; r += ROWS) {
          const float *lines[ROWS];
          for (int i = 0; i < ROWS; i++) lines[i] = a + (r + i < end ? r + i : end - 1) * depth;
          vec sums[ROWS][COLUMNS] = {};
          block(lines, packed + p * depth * WIDTH, depth, sums);
#pragma GCC unroll 16
          for (int i = 0; i < ROWS; i++) {
            if (r + i >= end) break;
            float line[WIDTH];
#pragma GCC unroll 8
            for (int c = 0; c < COLUMNS; c++) store(line + c * LANES, sums[i][c]);
            float *dst = out + (r + i) * cols + p * WIDTH;
            if (n == WIDTH)
              for (long j = 0; j < WIDTH; j++) dst[j] = finish(line[j], p * WIDTH + j);
            else
              for (long j = 0; j < n; j++) dst[j] = finish(line[j], p * WIDTH + j);
          }
        }
      }
    }
  }
  free(packed);
}
