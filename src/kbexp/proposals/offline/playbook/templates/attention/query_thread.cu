// One thread a query, BLOCK queries a block; KEYS keys and values at a time in shared memory. The
// maximum and the sum run along, so that no scores are kept. DIM is the size of a head.
extern "C" __global__ void attend(const float *q, const float *k, const float *v, float *out,
                                  int length, double scale) {
  __shared__ float keys[KEYS][DIM], values[KEYS][DIM];
  const long long head = (long long)blockIdx.y * length * DIM;
  const int i = blockIdx.x * BLOCK + threadIdx.x;
  float query[DIM], sums[DIM];
  for (int d = 0; d < DIM; d++) {
    query[d] = i < length ? q[head + (long long)i * DIM + d] * (float)scale : 0.0f;
    sums[d] = 0.0f;
  }
  float top = -3.4e38f, sum = 0.0f;
  for (int start = 0; start < length && start < (blockIdx.x + 1) * BLOCK; start += KEYS) {
    __syncthreads();
    for (int e = threadIdx.x; e < KEYS * DIM; e += BLOCK) {
      bool inside = start + e / DIM < length;
      keys[e / DIM][e % DIM] = inside ? k[head + (long long)start * DIM + e] : 0.0f;
      values[e / DIM][e % DIM] = inside ? v[head + (long long)start * DIM + e] : 0.0f;
    }
    __syncthreads();
    for (int j = 0; j < KEYS && start + j <= i && start + j < length; j++) {
      float score = 0.0f;
#pragma unroll
      for (int d = 0; d < DIM; d++) score += query[d] * keys[j][d];
      if (score > top) {
        float rescale = __expf(top - score);
        sum *= rescale;
#pragma unroll
        for (int d = 0; d < DIM; d++) sums[d] *= rescale;
        top = score;
      }
      float weight = __expf(score - top);
      sum += weight;
#pragma unroll
      for (int d = 0; d < DIM; d++) sums[d] += weight * values[j][d];
    }
  }
  if (i < length)
    for (int d = 0; d < DIM; d++) out[head + (long long)i * DIM + d] = sums[d] / sum;
}
