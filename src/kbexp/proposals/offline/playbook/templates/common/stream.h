#include <string.h>

#if defined(__clang__)
typedef float line_t __attribute__((vector_size(64)));
#define STORE_PAST(to, from) __builtin_nontemporal_store(from, (line_t *)(to))
#elif defined(__AVX512F__)
typedef float line_t __attribute__((vector_size(64)));
#define STORE_PAST(to, from) __builtin_ia32_movntps512(to, from)
#endif

// Copy a finished row; with STREAM past the caches, from which nobody will read it soon.
static inline void put(float *dst, const float *src, long n) {
#if STREAM && defined(STORE_PAST)
  if (((unsigned long)dst & 63) == 0) {
    long j = 0;
    for (; j + 16 <= n; j += 16) {
      line_t line;
      memcpy(&line, src + j, sizeof line);
      STORE_PAST(dst + j, line);
    }
    for (; j < n; j++) dst[j] = src[j];
    return;
  }
#endif
  memcpy(dst, src, n * sizeof(float));
}
