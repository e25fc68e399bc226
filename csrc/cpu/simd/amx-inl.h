#pragma once

// The eight operations on AMX tiles. A thread has eight tiles of 16 rows × 64 bytes, tmm0 … tmm7.
// In
//     dot: c[16 × 16] += a[16 × 16] · b[16 × 16]
// an element of c has 32 bits, as have those of a and b, which are Bf16x2 or Int8x4: a holds rows
// [output][k], b columns [k][pixel].
//
// DIGAN_FAST_PORTABLE_AMX replaces them by functions with the same results for every processor,
// so that the code that uses them is tested where there is no AMX.

namespace digan_fast::DIGAN_FAST_ISA {

// Rows and 32-bit columns of an AMX tile.
constexpr int kTmmSide = 16;

}  // namespace digan_fast::DIGAN_FAST_ISA

#if defined(__AMX_TILE__) || defined(DIGAN_FAST_PORTABLE_AMX)
#    define DIGAN_FAST_AMX 1

#    include <stdint.h>
#    include <string.h>

#    include "simd/bf16x2-inl.h"
#    include "simd/int8x4-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

#    if defined(DIGAN_FAST_PORTABLE_AMX)

struct AmxRegisters {
    bool configured = false;
    uint32_t element[8][kTmmSide][kTmmSide];
};
inline thread_local constinit AmxRegisters amx_registers{};

static inline AmxRegisters& configured_tmm() {
    if (!amx_registers.configured) __builtin_trap();  // as the processor does
    return amx_registers;
}

static inline void configure_amx() { amx_registers.configured = true; }
static inline void release_amx() { amx_registers.configured = false; }

template <int c>
static inline void zero_tmm() {
    memset(configured_tmm().element[c], 0, sizeof amx_registers.element[c]);
}

// `stride`: bytes between rows. `streamed`: the rows need not stay in the level-one cache.
template <int c, bool streamed = false>
static inline void load_tmm(const void* rows, int64_t stride) {
    auto& tile = configured_tmm().element[c];
    for (int r = 0; r < kTmmSide; ++r)
        memcpy(tile[r], static_cast<const char*>(rows) + r * stride, sizeof tile[r]);
}

template <int c>
static inline void store_tmm(void* rows, int64_t stride) {
    const auto& tile = configured_tmm().element[c];
    for (int r = 0; r < kTmmSide; ++r)
        memcpy(static_cast<char*>(rows) + r * stride, tile[r], sizeof tile[r]);
}

// As TDPBF16PS: even and odd products, which are exact in float32, are summed apart; subnormal
// operands are zero.
template <int c, int a, int b>
static inline void dot_tmm(Bf16x2) {
    auto& tile = configured_tmm().element;
    const auto number = [](uint32_t bits) {
        if ((bits & 0x7f800000u) == 0) bits = 0;
        float x;
        memcpy(&x, &bits, sizeof x);
        return x;
    };
    for (int m = 0; m < kTmmSide; ++m) {
        float sums[2][kTmmSide] = {};
        for (int k = 0; k < kTmmSide; ++k) {
            const float even = number(tile[a][m][k] << 16);
            const float odd = number(tile[a][m][k] & 0xffff0000u);
            for (int n = 0; n < kTmmSide; ++n) {
                sums[0][n] += even * number(tile[b][k][n] << 16);
                sums[1][n] += odd * number(tile[b][k][n] & 0xffff0000u);
            }
        }
        for (int n = 0; n < kTmmSide; ++n) {
            float sum;
            memcpy(&sum, &tile[c][m][n], sizeof sum);
            sum += sums[0][n] + sums[1][n];
            memcpy(&tile[c][m][n], &sum, sizeof sum);
        }
    }
}

// As TDPBSUD: signed bytes of a times unsigned bytes of b; sums wrap.
template <int c, int a, int b>
static inline void dot_tmm(Int8x4) {
    auto& tile = configured_tmm().element;
    for (int m = 0; m < kTmmSide; ++m)
        for (int k = 0; k < kTmmSide; ++k)
            for (int n = 0; n < kTmmSide; ++n)
                for (int i = 0; i < 32; i += 8)
                    tile[c][m][n] +=
                        static_cast<uint32_t>(static_cast<int8_t>(tile[a][m][k] >> i & 0xff) *
                                              static_cast<int32_t>(tile[b][k][n] >> i & 0xff));
}

#    else

// Written in assembly, since the intrinsics of some compilers take literals alone, no template's
// arguments.
static inline void configure_amx() {
    struct alignas(64) {
        uint8_t palette = 1, start_row = 0, reserved[14] = {};
        uint16_t row_bytes[16] = {};
        uint8_t rows[16] = {};
    } config;
    static_assert(sizeof config == 64);
    for (int tile = 0; tile < 8; ++tile) {
        config.row_bytes[tile] = 4 * kTmmSide;
        config.rows[tile] = kTmmSide;
    }
    asm volatile("ldtilecfg %0" : : "m"(config));
}
static inline void release_amx() { asm volatile("tilerelease"); }

template <int c>
static DIGAN_FAST_INLINE void zero_tmm() {
    asm volatile("tilezero %%tmm%c0" : : "i"(c));
}

// `stride`: bytes between rows. `streamed`: the rows need not stay in the level-one cache.
template <int c, bool streamed = false>
static DIGAN_FAST_INLINE void load_tmm(const void* rows, int64_t stride) {
    if constexpr (streamed) {
        asm volatile("tileloaddt1 (%1,%2,1), %%tmm%c0"
                     :
                     : "i"(c), "r"(rows), "r"(stride)
                     : "memory");
    } else {
        asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(c), "r"(rows), "r"(stride) : "memory");
    }
}

template <int c>
static DIGAN_FAST_INLINE void store_tmm(void* rows, int64_t stride) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(c), "r"(rows), "r"(stride) : "memory");
}

template <int c, int a, int b>
static DIGAN_FAST_INLINE void dot_tmm(Bf16x2) {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

template <int c, int a, int b>
static DIGAN_FAST_INLINE void dot_tmm(Int8x4) {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

#    endif

}  // namespace digan_fast::DIGAN_FAST_ISA
#endif

namespace digan_fast::DIGAN_FAST_ISA {

// The calling thread's tiles, where there are any, are configured during a AmxScope's life.
class AmxScope {
  public:
#if DIGAN_FAST_AMX
    AmxScope() { configure_amx(); }
    ~AmxScope() { release_amx(); }
#else
    AmxScope() {}
#endif
    AmxScope(const AmxScope&) = delete;
    AmxScope& operator=(const AmxScope&) = delete;
};

}  // namespace digan_fast::DIGAN_FAST_ISA
