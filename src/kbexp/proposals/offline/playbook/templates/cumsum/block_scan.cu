// One block a row: BLOCK numbers at a time are scanned by shuffles, and the sum is carried on.
extern "C" __global__ void cumsum_row(const float *x, float *out, int cols) {
  __shared__ float warps[32];
  const float *row = x + (long long)blockIdx.x * cols;
  float *dst = out + (long long)blockIdx.x * cols;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float carry = 0.0f;
  for (int start = 0; start < cols; start += BLOCK) {
    int j = start + threadIdx.x;
    float v = j < cols ? row[j] : 0.0f;
    for (int step = 1; step < 32; step <<= 1) {
      float left = __shfl_up_sync(0xffffffff, v, step);
      if (lane >= step) v += left;
    }
    if (lane == 31) warps[warp] = v;
    __syncthreads();
    float before = 0.0f, all = 0.0f;
    for (int w = 0; w < BLOCK / 32; w++) {
      if (w < warp) before += warps[w];
      all += warps[w];
    }
    if (j < cols) dst[j] = carry + before + v;
    carry += all;
    __syncthreads();
  }
}
