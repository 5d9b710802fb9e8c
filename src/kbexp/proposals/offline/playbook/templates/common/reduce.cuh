// The same value of a whole block in every thread; blocks are whole warps.
__device__ __forceinline__ float block_sum(float v) {
  __shared__ float parts[32];
  for (int step = 16; step > 0; step >>= 1) v += __shfl_xor_sync(0xffffffff, v, step);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  __syncthreads();
  v = threadIdx.x % 32 < blockDim.x / 32 ? parts[threadIdx.x % 32] : 0.0f;
  for (int step = 16; step > 0; step >>= 1) v += __shfl_xor_sync(0xffffffff, v, step);
  __syncthreads();
  return v;
}

__device__ __forceinline__ float block_max(float v) {
  __shared__ float tops[32];
  for (int step = 16; step > 0; step >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffff, v, step));
  if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = v;
  __syncthreads();
  v = threadIdx.x % 32 < blockDim.x / 32 ? tops[threadIdx.x % 32] : -3.4e38f;
  for (int step = 16; step > 0; step >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffff, v, step));
  __syncthreads();
  return v;
}
