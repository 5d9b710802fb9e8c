// 32 columns a block; WAYS threads share a column and add up their parts in shared memory.
extern "C" __global__ void variance_columns(const float *x, float *out, int batch, int length,
                                            int features) {
  __shared__ float sums[WAYS][32], squares[WAYS][32];
  int j = blockIdx.x * 32 + threadIdx.x, b = blockIdx.y;
  const float *first = x + (long long)b * length * features + j;
  float sum = 0.0f, square = 0.0f, shift = 0.0f;
  if (j < features) {
    shift = first[0];
    for (int i = threadIdx.y; i < length; i += WAYS) {
      float d = first[(long long)i * features] - shift;
      sum += d;
      square += d * d;
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  squares[threadIdx.y][threadIdx.x] = square;
  __syncthreads();
  if (threadIdx.y != 0 || j >= features) return;
  for (int w = 1; w < WAYS; w++) {
    sum += sums[w][threadIdx.x];
    square += squares[w][threadIdx.x];
  }
  float rest = sum / length;
  out[b * features + j] = shift + rest;
  out[(batch + b) * features + j] = square / length - rest * rest;
}
