// One thread a pair of numbers that turn together.
extern "C" __global__ void rope_pairs(const float *q, const float *cosine, const float *sine,
                                      float *out, int pairs, int length, int dim) {
  int p = blockIdx.x * BLOCK + threadIdx.x;
  if (p >= pairs) return;
  int half = dim / 2, r = p / half, j = p % half;
  const float *row = q + (long long)r * dim;
  float *dst = out + (long long)r * dim;
  const float *c = cosine + (long long)(r % length) * dim;
  const float *s = sine + (long long)(r % length) * dim;
  float a = row[j], b = row[j + half];
  dst[j] = a * c[j] - b * s[j];
  dst[j + half] = b * c[j + half] + a * s[j + half];
}
