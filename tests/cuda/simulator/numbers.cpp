#include "simulator.h"

// Conversions as defined by PTX, and products of fragments, summed in double and rounded once.

namespace simulator {
namespace {

std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

float float_of(std::uint32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

float tf32_element(std::uint32_t word, int) { return float_of(word); }

float bfloat16_element(std::uint32_t word, int which) {
    return bfloat16_to_float(static_cast<std::uint16_t>(word >> 16 * which));
}

float float16_element(std::uint32_t word, int which) {
    return float16_to_float(static_cast<std::uint16_t>(word >> 16 * which));
}

// Lane 4·g + q holds rows g and g + 8 of the left operand and of the sums, and column g of the
// right operand; along k, `Each` elements from Each·q on, and as many from 4·Each + Each·q on.
template <int Each, float (*Element)(std::uint32_t, int)>
void multiply_lanes(const void* const* in, void* const* out) {
    constexpr int DEPTH = 8 * Each;
    double left[16][DEPTH], right[8][DEPTH];
    for (int lane = 0; lane < 32; ++lane) {
        const auto& own = *static_cast<const Operands*>(in[lane]);
        const int g = lane / 4, q = lane % 4;
        for (int e = 0; e < Each; ++e) {
            const int k = Each * q + e;
            for (int part = 0; part < 4; ++part)
                left[g + part % 2 * 8][k + part / 2 * 4 * Each] = Element(own.left[part], e);
            for (int part = 0; part < 2; ++part)
                right[g][k + part * 4 * Each] = Element(own.right[part], e);
        }
    }
    for (int lane = 0; lane < 32; ++lane) {
        auto* sum = static_cast<float*>(out[lane]);
        const int g = lane / 4, q = lane % 4;
        for (int part = 0; part < 4; ++part) {
            double total = 0;
            for (int k = 0; k < DEPTH; ++k)
                total += left[g + part / 2 * 8][k] * right[2 * q + part % 2][k];
            sum[part] = static_cast<float>(sum[part] + total);
        }
    }
}

}  // namespace

float bfloat16_to_float(std::uint16_t bits) {
    return float_of(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t float_to_bfloat16(float value) {
    const std::uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFF;
    return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

float float16_to_float(std::uint16_t bits) {
    _Float16 value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return static_cast<float>(value);
}

std::uint16_t float_to_float16(float value) {
    const auto narrow = static_cast<_Float16>(value);
    std::uint16_t bits;
    __builtin_memcpy(&bits, &narrow, sizeof bits);
    return bits;
}

std::uint32_t float_to_tf32(float value) {
    const std::uint32_t bits = bits_of(value);
    if ((bits & 0x7F800000u) == 0x7F800000u) return bits;
    return (bits + 0x1000u) & 0xFFFFE000u;
}

void multiply_lanes_bfloat16(const void* const* in, void* const* out) {
    multiply_lanes<2, bfloat16_element>(in, out);
}

void multiply_lanes_float16(const void* const* in, void* const* out) {
    multiply_lanes<2, float16_element>(in, out);
}

void multiply_lanes_tf32(const void* const* in, void* const* out) {
    multiply_lanes<1, tf32_element>(in, out);
}

void exchange_matrices(const void* const* in, void* const* out) {
    for (int lane = 0; lane < 32; ++lane)
        for (int matrix = 0; matrix < 4; ++matrix)
            static_cast<std::uint32_t*>(out[lane])[matrix] =
                static_cast<const std::uint32_t*>(in[8 * matrix + lane / 4])[lane % 4];
}

void exchange_matrices_transposed(const void* const* in, void* const* out) {
    for (int lane = 0; lane < 32; ++lane)
        for (int matrix = 0; matrix < 4; ++matrix) {
            std::uint32_t word = 0;
            for (int half = 0; half < 2; ++half) {
                const void* row = in[8 * matrix + lane % 4 * 2 + half];
                word |= std::uint32_t{static_cast<const std::uint16_t*>(row)[lane / 4]}
                        << 16 * half;
            }
            static_cast<std::uint32_t*>(out[lane])[matrix] = word;
        }
}

}  // namespace simulator
