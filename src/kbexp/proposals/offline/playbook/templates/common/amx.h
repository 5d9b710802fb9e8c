// rows x depth times depth x cols on the matrix unit of x86 (AMX). It multiplies bfloat16 and
// adds in float32, so every number is split into a high and a low half, and three products are
// added: high*high + high*low + low*high. What is left out is below 2^-16 of a product.
#if defined(__AMX_BF16__) && defined(__linux__)
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

constexpr long EDGE = 16, DEPTH = 32, TILE_SIZE = EDGE * DEPTH;
typedef unsigned short half_t;

static inline half_t rounded(float v) {
  unsigned bits;
  memcpy(&bits, &v, 4);
  return (half_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float widened(half_t v) {
  unsigned bits = (unsigned)v << 16;
  float wide;
  memcpy(&wide, &bits, 4);
  return wide;
}

// Tiles of 16 rows by 32 of the depth.
static void split_left(const float *a, half_t *high, half_t *low, long rows, long depth, long m,
                       long steps) {
  for (long s = 0; s < steps; s++)
    for (long i = 0; i < EDGE; i++) {
      long r = m * EDGE + i, at = (m * steps + s) * TILE_SIZE + i * DEPTH;
      long n = r < rows ? depth - s * DEPTH : 0;
      n = n > DEPTH ? DEPTH : n;
      float line[DEPTH] = {};
      if (n == DEPTH) memcpy(line, a + r * depth + s * DEPTH, sizeof line);
      else for (long k = 0; k < n; k++) line[k] = a[r * depth + s * DEPTH + k];
      for (long k = 0; k < DEPTH; k++) {
        high[at + k] = rounded(line[k]);
        low[at + k] = rounded(line[k] - widened(high[at + k]));
      }
    }
}

// Tiles of 16 pairs along the depth by 16 columns, the two of a pair side by side.
static void split_right(const float *b, unsigned *high, unsigned *low, long depth, long cols,
                        long n, long steps) {
  long width = cols - n * EDGE < EDGE ? cols - n * EDGE : EDGE;
  for (long s = 0; s < steps; s++)
    for (long pair = 0; pair < EDGE; pair++) {
      long k = s * DEPTH + 2 * pair, at = (n * steps + s) * EDGE * EDGE + pair * EDGE;
      float even[EDGE] = {}, odd[EDGE] = {};
      for (long j = 0; k < depth && j < width; j++) even[j] = b[k * cols + n * EDGE + j];
      for (long j = 0; k + 1 < depth && j < width; j++) odd[j] = b[(k + 1) * cols + n * EDGE + j];
      for (long j = 0; j < EDGE; j++) {
        half_t first = rounded(even[j]), second = rounded(odd[j]);
        high[at + j] = first | (unsigned)second << 16;
        low[at + j] = rounded(even[j] - widened(first)) |
                      (unsigned)rounded(odd[j] - widened(second)) << 16;
      }
    }
}

static void configure() {
  struct {
    unsigned char palette, start, reserved[14];
    unsigned short columns[16];
    unsigned char rows[16];
  } shape;
  memset(&shape, 0, sizeof shape);
  shape.palette = 1;
  for (int t = 0; t < 8; t++) {
    shape.columns[t] = 64;
    shape.rows[t] = EDGE;
  }
  _tile_loadconfig(&shape);
}

// 32 x 32 results in tiles 0 to 3.
static inline void block(const half_t *high_a, const half_t *low_a, const half_t *high_b,
                         const half_t *low_b, long steps) {
  const long next = steps * TILE_SIZE;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
#define PRODUCTS()         \
  _tile_dpbf16ps(0, 4, 6); \
  _tile_dpbf16ps(1, 4, 7); \
  _tile_dpbf16ps(2, 5, 6); \
  _tile_dpbf16ps(3, 5, 7)
  for (long s = 0; s < steps; s++) {
    long at = s * TILE_SIZE;
    _tile_loadd(6, high_b + at, 64);
    _tile_loadd(7, high_b + next + at, 64);
    _tile_loadd(4, low_a + at, 64);
    _tile_loadd(5, low_a + next + at, 64);
    PRODUCTS();
    _tile_loadd(4, high_a + at, 64);
    _tile_loadd(5, high_a + next + at, 64);
    PRODUCTS();
    _tile_loadd(6, low_b + at, 64);
    _tile_loadd(7, low_b + next + at, 64);
    PRODUCTS();
  }
}

template <class Finish>
static int multiply(const float *a, const float *b, float *out, long rows, long depth, long cols,
                    Finish finish) {
  if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return 1;  // Ask the kernel for the tiles.
  const long steps = (depth + DEPTH - 1) / DEPTH;
  const long high_rows = (rows + 31) / 32 * 2, high_cols = (cols + 31) / 32 * 2;
  static half_t *space = NULL;
  static long held = 0;
  long wanted = 2 * (high_rows + high_cols) * steps * TILE_SIZE;
  if (held < wanted) {
    free(space);
    space = (half_t *)aligned_alloc(64, wanted * sizeof(half_t));
    held = wanted;
  }
  half_t *high_a = space, *low_a = high_a + high_rows * steps * TILE_SIZE;
  half_t *high_b = low_a + high_rows * steps * TILE_SIZE;
  half_t *low_b = high_b + high_cols * steps * TILE_SIZE;
  const long groups = (high_rows / 2 + GROUP - 1) / GROUP;
#pragma omp parallel num_threads(THREADS)
  {
    configure();
#pragma omp for schedule(static) nowait
    for (long m = 0; m < high_rows; m++) split_left(a, high_a, low_a, rows, depth, m, steps);
#pragma omp for schedule(static)
    for (long n = 0; n < high_cols; n++)
      split_right(b, (unsigned *)high_b, (unsigned *)low_b, depth, cols, n, steps);
#pragma omp for schedule(dynamic, 1)
    for (long g = 0; g < groups; g++)
      for (long n = 0; n < high_cols; n += 2)
        for (long m = g * GROUP * 2; m < (g + 1) * GROUP * 2 && m < high_rows; m += 2) {
          const long left = m * steps * TILE_SIZE, right = n * steps * TILE_SIZE;
          block(high_a + left, low_a + left, high_b + right, low_b + right, steps);
          float results[32 * 32] __attribute__((aligned(64)));
          _tile_stored(0, results, 128);
          _tile_stored(1, results + 16, 128);
          _tile_stored(2, results + 16 * 32, 128);
          _tile_stored(3, results + 16 * 32 + 16, 128);
          long width = cols - n * EDGE < 32 ? cols - n * EDGE : 32;
          for (long i = 0; i < 32 && m * EDGE + i < rows; i++) {
            float *dst = out + (m * EDGE + i) * cols + n * EDGE;
            if (width == 32)
              for (long j = 0; j < 32; j++) dst[j] = finish(results[i * 32 + j], n * EDGE + j);
            else
              for (long j = 0; j < width; j++) dst[j] = finish(results[i * 32 + j], n * EDGE + j);
          }
        }
    _tile_release();
  }
  return 0;
}
#else
template <class Finish>
static int multiply(const float *, const float *, float *, long, long, long, Finish) {
  return 1;  // No such unit here.
}
#endif
