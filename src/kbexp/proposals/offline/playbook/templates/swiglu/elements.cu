extern "C" __global__ void swiglu_elements(const float *x, float *out, int rows, int hidden) {
  for (int r = blockIdx.y; r < rows; r += gridDim.y) {
    const float *gate = x + (long long)r * 2 * hidden;
    const float *up = gate + hidden;
    float *dst = out + (long long)r * hidden;
    for (int j = blockIdx.x * BLOCK + threadIdx.x; j < hidden; j += gridDim.x * BLOCK)
      dst[j] = gate[j] * up[j] / (1.0f + __expf(-gate[j]));
  }
}
