// out[m, n] = sum of a[m, k] b[n, k] on tensor cores: ldmatrix, mma.sync, and a three-stage cp.async pipeline.
// gemm.ptx is nvcc's output: nvcc -ptx -O3 -std=c++17 -arch=compute_80
#include <cstdint>

__device__ __forceinline__ uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}

__device__ __forceinline__ void copy_16(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes));
}

#define MMA(SHAPE, TYPES)                                                                                     \
  asm volatile("mma.sync.aligned." SHAPE ".row.col." TYPES " {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};" \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                               \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))

enum Kind { BF16, F16, TF32 };

template <Kind KIND>
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if (KIND == BF16) MMA("m16n8k16", "f32.bf16.bf16.f32");
  if (KIND == F16) MMA("m16n8k16", "f32.f16.f16.f32");
  if (KIND == TF32) MMA("m16n8k8", "f32.tf32.tf32.f32");
}

// Tiles of 64 × 64, four warps of 32 × 32 each; a row of a tile is 64 bytes along k and 16 of padding.
constexpr int TILE = 64, ROW = 64, PITCH = ROW + 16, STAGES = 3, THREADS = 128;

template <Kind KIND>
__device__ void gemm(const char* a, const char* b, float* out, int m, int n, int row_bytes) {
  extern __shared__ __align__(16) char room[];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE;
  auto load = [&](int stage, int offset) {
    char* left = room + stage * 2 * TILE * PITCH;
    char* right = left + TILE * PITCH;
    for (int i = threadIdx.x; i < TILE * ROW / 16; i += THREADS) {
      int row = i / (ROW / 16), byte = i % (ROW / 16) * 16;
      bool inside = offset + byte < row_bytes;
      bool of_a = inside && row0 + row < m, of_b = inside && column0 + row < n;
      copy_16(left + row * PITCH + byte, of_a ? a + (size_t)(row0 + row) * row_bytes + offset + byte : a, of_a * 16);
      copy_16(right + row * PITCH + byte, of_b ? b + (size_t)(column0 + row) * row_bytes + offset + byte : b, of_b * 16);
    }
  };
  float c[2][4][4] = {};
  int steps = (row_bytes + ROW - 1) / ROW;
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < steps) load(s, s * ROW);
    asm volatile("cp.async.commit_group;");
  }
  for (int step = 0; step < steps; step++) {
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2));
    __syncthreads();
    if (step + STAGES - 1 < steps) load((step + STAGES - 1) % STAGES, (step + STAGES - 1) * ROW);
    asm volatile("cp.async.commit_group;");
    const char* left = room + step % STAGES * 2 * TILE * PITCH + warp / 2 * 32 * PITCH;
    const char* right = room + (step % STAGES * 2 + 1) * TILE * PITCH + warp % 2 * 32 * PITCH;
    for (int byte = 0; byte < ROW; byte += 32) {
      uint32_t fa[2][4], fb[2][4];
      for (int i = 0; i < 2; i++) {
        ldmatrix_x4(fa[i], left + (i * 16 + lane % 16) * PITCH + byte + lane / 16 * 16);
        ldmatrix_x4(fb[i], right + (i * 16 + lane % 8 + lane / 16 * 8) * PITCH + byte + lane / 8 % 2 * 16);
      }
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++) multiply<KIND>(c[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
    }
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 4; j++)
      for (int e = 0; e < 4; e++) {
        int row = row0 + warp / 2 * 32 + i * 16 + lane / 4 + e / 2 * 8;
        int column = column0 + warp % 2 * 32 + j * 8 + lane % 4 * 2 + e % 2;
        if (row < m && column < n) out[(size_t)row * n + column] = c[i][j][e];
      }
}

#define KERNEL(NAME, KIND)                                                                              \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                 \
      NAME(const char* a, const char* b, float* out, int m, int n, int row_bytes) {                     \
    gemm<KIND>(a, b, out, m, n, row_bytes);                                                             \
  }
KERNEL(gemm_bf16, BF16)
KERNEL(gemm_f16, F16)
KERNEL(gemm_tf32, TF32)
