// rows x depth times depth x cols: SIDE x SIDE results a block, EACH x EACH a thread. Tiles that
// are DEPTH deep pass through shared memory. `right(k, j)` reads the right side, `finish(v, j)`
// maps a result and its column to what is stored.
constexpr int LINE = SIDE / EACH;

template <class Right, class Finish>
__device__ __forceinline__ void product(const float *a, float *out, int rows, int depth, int cols,
                                        Right right, Finish finish) {
  __shared__ float left_tile[DEPTH][SIDE + 1], right_tile[DEPTH][SIDE + 1];
  const int thread = threadIdx.x, ty = thread / LINE, tx = thread % LINE;
  const long long r0 = (long long)blockIdx.x * SIDE, c0 = (long long)blockIdx.y * SIDE;
  float sums[EACH][EACH] = {};
  for (int k0 = 0; k0 < depth; k0 += DEPTH) {
    for (int e = thread; e < SIDE * DEPTH; e += LINE * LINE) {
      int i = e / DEPTH, k = e % DEPTH;
      bool inside = r0 + i < rows && k0 + k < depth;
      left_tile[k][i] = inside ? a[(r0 + i) * depth + k0 + k] : 0.0f;
    }
    for (int e = thread; e < SIDE * DEPTH; e += LINE * LINE) {
      int k = e / SIDE, j = e % SIDE;
      bool inside = c0 + j < cols && k0 + k < depth;
      right_tile[k][j] = inside ? right(k0 + k, c0 + j) : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < DEPTH; k++) {
      float lefts[EACH], rights[EACH];
#pragma unroll
      for (int i = 0; i < EACH; i++) lefts[i] = left_tile[k][ty + i * LINE];
#pragma unroll
      for (int j = 0; j < EACH; j++) rights[j] = right_tile[k][tx + j * LINE];
#pragma unroll
      for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) sums[i][j] += lefts[i] * rights[j];
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < EACH; i++)
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      long long r = r0 + ty + i * LINE, c = c0 + tx + j * LINE;
      if (r < rows && c < cols) out[r * cols + c] = finish(sums[i][j], c);
    }
}
