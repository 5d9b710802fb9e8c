#include "common/exp.h"

// x * Phi(x) with the error function of Abramowitz and Stegun 7.1.26 (error below 2e-7).
static inline float gelu(float x) {
  float z = x * 0.70710678f;
  z = z < 0.0f ? -z : z;
  float t = 1.0f / (1.0f + 0.3275911f * z);
  float p = t * (0.254829592f +
                 t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  float erf = 1.0f - p * fast_exp(-z * z);
  return 0.5f * x * (1.0f + (x < 0.0f ? -erf : erf));
}
