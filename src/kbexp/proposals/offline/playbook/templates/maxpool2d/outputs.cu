// One thread an output.
extern "C" __global__ void maxpool(const float *x, float *out, int count, int height, int width,
                                   int out_height, int out_width) {
  int o = blockIdx.x * BLOCK + threadIdx.x;
  if (o >= count) return;
  int ox = o % out_width, oy = o / out_width % out_height;
  const float *plane = x + (long long)(o / (out_width * out_height)) * height * width;
  float best = -3.4e38f;
#pragma unroll
  for (int ky = 0; ky < SIDE; ky++)
#pragma unroll
    for (int kx = 0; kx < SIDE; kx++) {
      int y = oy * STRIDE - PADDING + ky, j = ox * STRIDE - PADDING + kx;
      if (y >= 0 && y < height && j >= 0 && j < width)
        best = fmaxf(best, plane[(long long)y * width + j]);
    }
  out[o] = best;
}
