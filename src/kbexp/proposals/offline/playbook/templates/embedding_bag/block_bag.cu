// One warp a bag, BAGS warps a block.
extern "C" __global__ void sum_bags(const float *table, const long long *indices, float *out,
                                    int bags, int size, int dim) {
  int b = blockIdx.x * BAGS + threadIdx.y;
  if (b >= bags) return;
  const long long *bag = indices + (long long)b * size;
  for (int j = threadIdx.x; j < dim; j += 32) {
    float sum = 0.0f;
#pragma unroll 4
    for (int i = 0; i < size; i++) sum += table[bag[i] * dim + j];
    out[(long long)b * dim + j] = sum;
  }
}
