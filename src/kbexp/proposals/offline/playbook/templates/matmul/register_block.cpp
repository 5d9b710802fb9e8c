#include "common/gemm.h"

extern "C" int run(const float *a, const float *b, float *out, long rows, long depth, long cols) {
  multiply(a, b, out, rows, depth, cols, [](float v, long) { return v; });
  return 0;
}
