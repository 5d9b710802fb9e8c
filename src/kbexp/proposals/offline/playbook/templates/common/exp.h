#include <math.h>

// exp(x) as 2^n * p(r), p a polynomial of EXP_DEGREE; or the library's, with EXP_DEGREE 0.
static inline float fast_exp(float x) {
#if EXP_DEGREE == 0
  return expf(x);
#else
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  float n = __builtin_rintf(x * 1.44269504f);
  float r = x - n * 0.693145752f - n * 1.42860677e-6f;
  float p = 1.0f;
#if EXP_DEGREE >= 6
  p = 1.0f + r * p * (1.0f / 6);
#endif
#if EXP_DEGREE >= 5
  p = 1.0f + r * p * (1.0f / 5);
#endif
  p = 1.0f + r * p * (1.0f / 4);
  p = 1.0f + r * p * (1.0f / 3);
  p = 1.0f + r * p * (1.0f / 2);
  p = 1.0f + r * p;
  union {
    int bits;
    float value;
  } power = {((int)n + 127) << 23};
  return p * power.value;
#endif
}
