#include <atomic>
#include <chrono>

#include "digan_fast/peak.h"
#include "gemm/isa_traits-inl.h"
#include "runtime/threads.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// Independent sums, each in a register: a core that issues two instructions per cycle, each with a
// latency of six cycles, needs twelve, and 16 registers hold twelve and the operands. A Zen 4 core
// reaches its peak with eight.
constexpr int kSums = 12;

// Steps between two readings of the clock: about 20 µs.
constexpr int kSteps = 4096;

// Sums are stored here so that they are not optimised away.
std::atomic<float> sink;

// x ↦ x·a + b; without fma, a product and a sum.
struct Fma {
    using Sum = Vec;
    static constexpr double kOperations = 2.0 * Vec::width;
    Vec a, b;

    explicit Fma(float one) : a(broadcast(0.5f * one)), b(broadcast(one)) {}
    static Sum start(float value) { return broadcast(value); }
    DIGAN_FAST_INLINE void step(Sum& x) const { x = fma(x, a, b); }
    static float number(Sum x) {
        float lanes[Vec::width];
        store(lanes, x);
        return lanes[0];
    }
};

#if defined(__AVX512BF16__)
// 16 sums of two bfloat16 products.
struct Bfloat16Pairs {
    using Sum = __m512;
    static constexpr double kOperations = 2.0 * 32;
    __m512bh a;

    explicit Bfloat16Pairs(float one) : a(_mm512_cvtne2ps_pbh(start(one), start(one))) {}
    static Sum start(float value) { return _mm512_set1_ps(value); }
    DIGAN_FAST_INLINE void step(Sum& x) const { x = _mm512_dpbf16_ps(x, a, a); }
    static float number(Sum x) { return _mm512_cvtss_f32(x); }
};
#endif

#if defined(__AVX512VNNI__)
// 16 sums of four 8-bit products.
struct Bytes {
    using Sum = __m512i;
    static constexpr double kOperations = 2.0 * 64;
    __m512i a;

    explicit Bytes(float one) : a(_mm512_set1_epi8(static_cast<char>(one))) {}
    static Sum start(float value) { return _mm512_set1_epi32(static_cast<int>(value)); }
    DIGAN_FAST_INLINE void step(Sum& x) const { x = _mm512_dpbusd_epi32(x, a, a); }
    static float number(Sum x) {
        int lanes[16];
        _mm512_storeu_si512(lanes, x);
        return static_cast<float>(lanes[0]);
    }
};
#endif

using Clock = std::chrono::steady_clock;

#if DIGAN_FAST_AMX
// Four AMX tiles of sums; operands stay in the other four. They are numbers as networks have:
// with zeros the unit draws less power, and the clock of a core is up to a third higher.
template <class T>
struct AmxTiles {
    static double rate_of_thread(double seconds) {
        const AmxScope amx;
        alignas(64) uint32_t some[kTmmSide * kTmmSide];
        uint32_t random = 1;
        for (uint32_t& pair : some) {
            random = random * 1664525u + 1013904223u;
            pair = 0x3f003f00u | (random & 0x80ff80ffu);  // of size 1/2 to 2
        }
        load_tmm<4>(some, 4 * kTmmSide);
        load_tmm<5>(some, 4 * kTmmSide);
        load_tmm<6>(some, 4 * kTmmSide);
        load_tmm<7>(some, 4 * kTmmSide);
        zero_tmm<0>();
        zero_tmm<1>();
        zero_tmm<2>();
        zero_tmm<3>();
        constexpr int kTileSteps = kSteps / 16;  // a dot takes 16 cycles
        double steps = 0, elapsed = 0;
        const auto begin = Clock::now();
        do {
            for (int step = 0; step < kTileSteps; ++step) {
                dot_tmm<0, 4, 6>(T{});
                dot_tmm<1, 4, 7>(T{});
                dot_tmm<2, 5, 6>(T{});
                dot_tmm<3, 5, 7>(T{});
            }
            steps += kTileSteps;
            elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
        } while (elapsed < seconds);
        return steps * 4 * 2.0 * kPack<T> * kTmmSide * kTmmSide * kTmmSide / elapsed;
    }
};
#endif

// Sums in registers.
template <class Unit>
struct Registers {
    static double rate_of_thread(double seconds) {
        volatile float opaque = 1.0f;  // the compiler must not know the operands
        const Unit unit(opaque);
        // The compiler would merge sums with equal initial values.
        typename Unit::Sum sums[kSums];
        for (int i = 0; i < kSums; ++i) sums[i] = Unit::start(opaque * static_cast<float>(i));
        double steps = 0, elapsed = 0;
        const auto begin = Clock::now();
        do {
            for (int step = 0; step < kSteps; ++step)
                for (auto& sum : sums) unit.step(sum);
            steps += kSteps;
            elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
        } while (elapsed < seconds);
        float total = 0;
        for (const auto& sum : sums) total += Unit::number(sum);
        sink.store(total, std::memory_order_relaxed);
        return steps * kSums * Unit::kOperations / elapsed;
    }
};

template <class Loop>
void run(const PeakParams& p) {
    std::atomic<double> rate{0};
    on_threads(p.threads, [&] {
        const double own = Loop::rate_of_thread(p.seconds);
        double sum = rate.load();
        while (!rate.compare_exchange_weak(sum, sum + own)) {
        }
    });
    *p.rate = rate.load();
}

}  // namespace

void peak_cpu(const PeakParams& p) {
    switch (p.instruction) {
        case Instruction::fma:
            return run<Registers<Fma>>(p);
        case Instruction::vdpbf16ps:
#if defined(__AVX512BF16__)
            run<Registers<Bfloat16Pairs>>(p);
#endif
            return;
        case Instruction::vpdpbusd:
#if defined(__AVX512VNNI__)
            run<Registers<Bytes>>(p);
#endif
            return;
        case Instruction::tdpbf16ps:
#if DIGAN_FAST_AMX
            run<AmxTiles<Bf16x2>>(p);
#endif
            return;
        case Instruction::tdpbsud:
#if DIGAN_FAST_AMX
            run<AmxTiles<Int8x4>>(p);
#endif
            return;
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
