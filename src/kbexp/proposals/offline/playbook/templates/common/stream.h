#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

// Copy a finished row; with STREAM past the caches, which nobody will read from soon.
static inline void put(float *dst, const float *src, long n) {
#if STREAM && defined(__AVX512F__)
  if (((unsigned long)dst & 63) == 0) {
    long j = 0;
    for (; j + 16 <= n; j += 16) _mm512_stream_ps(dst + j, _mm512_loadu_ps(src + j));
    for (; j < n; j++) dst[j] = src[j];
    return;
  }
#endif
  memcpy(dst, src, n * sizeof(float));
}
