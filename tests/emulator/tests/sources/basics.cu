// Kernels with known answers. basics.ptx is nvcc's output: nvcc -ptx -O3 -std=c++17 -arch=compute_80
#include <cstdint>

extern "C" __global__ void vector_add(const float* a, const float* b, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = a[i] + b[i];
}

extern "C" __global__ void total(const float* values, float* out, int n) {
  __shared__ float partial[32];
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += values[i];
  for (int step = 16; step; step >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.f;
    for (int step = 16; step; step >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x == 0) atomicAdd(out, sum);
  }
}

// A pitch of 33 has no bank conflicts, a pitch of 32 the maximum.
template <int PITCH>
__device__ void transposed(const float* in, float* out, int rows, int columns) {
  __shared__ float tile[32 * PITCH];
  int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (x < columns && y + j < rows) tile[(threadIdx.y + j) * PITCH + threadIdx.x] = in[(y + j) * columns + x];
  __syncthreads();
  x = blockIdx.y * 32 + threadIdx.x, y = blockIdx.x * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (x < rows && y + j < columns) out[(y + j) * rows + x] = tile[threadIdx.x * PITCH + threadIdx.y + j];
}
extern "C" __global__ void transpose_33(const float* in, float* out, int rows, int columns) {
  transposed<33>(in, out, rows, columns);
}
extern "C" __global__ void transpose_32(const float* in, float* out, int rows, int columns) {
  transposed<32>(in, out, rows, columns);
}

// Large arguments take a path with local arrays and a table in global memory.
extern "C" __global__ void sine_and_cosine(const float* angle, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) sincosf(angle[i], out + 2 * i, out + 2 * i + 1);
}

struct Polynomial {
  const float* x;
  float* y;
  float coefficients[5];
  int n;
};
__constant__ float scales[4] = {1.f, 2.f, 3.f, 4.f};
__device__ __noinline__ float horner(const float* coefficients, float x, int degree) {
  float sum = 0;
  for (int k = degree; k >= 0; k--) sum = sum * x + coefficients[k];
  return sum;
}
extern "C" __global__ void polynomial(const Polynomial p, int degree) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < p.n) p.y[i] = horner(p.coefficients, p.x[i], degree + i % 2) * scales[i & 3];
}

// Collatz: every thread has its own number of iterations and its own branches.
extern "C" __global__ void collatz(const int* start, int* steps, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int count = 0;
  for (unsigned value = start[i]; value != 1; count++) {
    if (value % 2) {
      value = 3 * value + 1;
      if (value > 1000000000u) break;
    } else {
      value /= 2;
    }
  }
  steps[i] = count;
}

extern "C" __global__ void mathematics(const float* x, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float v = x[i];
  out[8 * i] = expf(v);
  out[8 * i + 1] = logf(fabsf(v));
  out[8 * i + 2] = tanhf(v);
  out[8 * i + 3] = rsqrtf(fabsf(v));
  out[8 * i + 4] = powf(fabsf(v), 1.7f);
  out[8 * i + 5] = erff(v);
  out[8 * i + 6] = fmodf(v, 0.3f);
  out[8 * i + 7] = (float)sin((double)v);
}
