// One thread an output.
extern "C" __global__ void depthwise(const float *x, const float *weight, const float *bias,
                                     float *out, int count, int channels, int height, int width,
                                     int out_height, int out_width) {
  int o = blockIdx.x * BLOCK + threadIdx.x;
  if (o >= count) return;
  int ox = o % out_width, oy = o / out_width % out_height, p = o / (out_width * out_height);
  const float *plane = x + (long long)p * height * width;
  const float *taps = weight + p % channels * SIDE * SIDE;
  float sum = bias[p % channels];
#pragma unroll
  for (int ky = 0; ky < SIDE; ky++)
#pragma unroll
    for (int kx = 0; kx < SIDE; kx++) {
      int y = oy - PADDING + ky, j = ox - PADDING + kx;
      if (y >= 0 && y < height && j >= 0 && j < width)
        sum += taps[ky * SIDE + kx] * plane[(long long)y * width + j];
    }
  out[o] = sum;
}
