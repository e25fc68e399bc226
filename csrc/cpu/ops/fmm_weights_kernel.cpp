#include "digan_fast/fmm_weights.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"
#include "simd/vec16-inl.h"
#include "simd/vec_math-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

constexpr float kEps = 1e-8f;

// Outputs that share their reads of R. Sums of four rows by kSpan · 16 columns stay in registers.
constexpr int kMR = 4;
constexpr int kSpan = kRegister == 16 ? 2 : 1;

// Elements of V per thread: half of bias_act's, since each takes several times as long.
constexpr int64_t kGrain = 1 << 13;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// One task's memory, in separate areas, so that AddressSanitizer knows where each ends.
struct TaskMemory {
    TaskMemory(int64_t rank, int64_t inputs)
        : left(areas[0].reserve(kMR * rank)),
          product(areas[1].reserve(kMR * inputs)),
          gradient(areas[2].reserve(kMR * inputs)),
          expanded(areas[3].reserve(inputs)),
          modulated(areas[4].reserve(inputs)) {}
    Scratch areas[5];
    float* const left;       // [rank, kMR]
    float* const product;    // [kMR, inputs]: L·R
    float* const gradient;   // [kMR, inputs]: with respect to L·R
    float* const expanded;   // [inputs]: grad's single element, repeated
    float* const modulated;  // [inputs]
};

// Transposes `count` rows of L, [rank] each, to [rank, kMR]; missing rows are zeros.
void transpose(float* out, const float* left, int64_t count, int64_t rank) {
    for (int64_t j = 0; j < rank; ++j) {
        for (int64_t k = 0; k < kMR; ++k) out[j * kMR + k] = k < count ? left[k * rank + j] : 0;
    }
}

// take(k, i, Σ_j left[j, k] · right[j, i]) for sixteen i at a time, and one at a time at the end.
template <class Take>
inline void microkernel(const float* left, const float* right, int64_t rank, int64_t inputs,
                        const Take& take) {
    int64_t i = 0;
    for (; i + kSpan * kVec16 <= inputs; i += kSpan * kVec16) {
        Vec16 sums[kMR][kSpan];
        for (auto& row : sums) {
            for (Vec16& sum : row) sum = zero16();
        }
        for (int64_t j = 0; j < rank; ++j) {
            for (int s = 0; s < kSpan; ++s) {
                const Vec16 x = load16(right + j * inputs + i + s * kVec16);
                for (int k = 0; k < kMR; ++k) add_scaled(sums[k][s], x, left[j * kMR + k]);
            }
        }
        for (int k = 0; k < kMR; ++k) {
            for (int s = 0; s < kSpan; ++s) take(k, i + s * kVec16, sums[k][s]);
        }
    }
    for (; i < inputs; ++i) {
        for (int k = 0; k < kMR; ++k) {
            float sum = 0.0f;
            for (int64_t j = 0; j < rank; ++j) sum += right[j * inputs + i] * left[j * kMR + k];
            take(k, i, sum);
        }
    }
}

// Keeps L·R of the four rows for operations over whole rows.
struct Keep {
    float* product;  // [kMR, inputs]
    int64_t inputs;
    void operator()(int k, int64_t i, const Vec16& sum) const {
        store(product + k * inputs + i, sum);
    }
    void operator()(int k, int64_t i, float sum) const { product[k * inputs + i] = sum; }
};

// Writes V of the first `count` rows directly from their L·R in registers.
struct Modulate {
    float* out;
    const float* weight;
    int64_t inputs;
    int64_t count;
    float scale;
    void operator()(int k, int64_t i, const Vec16& sum) const {
        if (k >= count) return;
        const Vec16 w = load16(weight + k * inputs + i);
        Vec16 v;
        for (int part = 0; part < kVec16 / kRegister; ++part) {
            v.part[part] = w.part[part] * (sum.part[part] * scale + 1.0f);
        }
        store(out + k * inputs + i, v);
    }
    void operator()(int k, int64_t i, float sum) const {
        if (k < count) out[k * inputs + i] = weight[k * inputs + i] * (sum * scale + 1.0f);
    }
};

// out[j, i] += Σ_k left[j, k] · x[k, i]
void add_outer(float* out, const float* left, const float* x, int64_t rank, int64_t inputs) {
    int64_t i = 0;
    for (; i + kSpan * kVec16 <= inputs; i += kSpan * kVec16) {
        Vec16 rows[kMR][kSpan];
        for (int k = 0; k < kMR; ++k) {
            for (int s = 0; s < kSpan; ++s) rows[k][s] = load16(x + k * inputs + i + s * kVec16);
        }
        for (int64_t j = 0; j < rank; ++j) {
            for (int s = 0; s < kSpan; ++s) {
                float* to = out + j * inputs + i + s * kVec16;
                Vec16 sum = load16(to);
                for (int k = 0; k < kMR; ++k) add_scaled(sum, rows[k][s], left[j * kMR + k]);
                store(to, sum);
            }
        }
    }
    for (; i < inputs; ++i) {
        for (int64_t j = 0; j < rank; ++j) {
            float sum = out[j * inputs + i];
            for (int k = 0; k < kMR; ++k) sum += x[k * inputs + i] * left[j * kMR + k];
            out[j * inputs + i] = sum;
        }
    }
}

// out[k] = Σ_i x[k, i] · y[i]
void dots(float* out, const float* x, const float* y, int64_t inputs) {
    Vec16 sums[kMR];
    for (Vec16& sum : sums) sum = zero16();
    int64_t i = 0;
    for (; i + kVec16 <= inputs; i += kVec16) {
        const Vec16 lanes = load16(y + i);
        for (int k = 0; k < kMR; ++k) add_product(sums[k], load16(x + k * inputs + i), lanes);
    }
    for (int k = 0; k < kMR; ++k) {
        if (i < inputs) {
            add_product(sums[k], load16(x + k * inputs + i, inputs - i), load16(y + i, inputs - i));
        }
        out[k] = total(sums[k]);
    }
}

// Σ_i x[i] · y[i], in four running sums, since an addition takes four cycles.
float dot(const float* x, const float* y, int64_t n) {
    constexpr int kSums = 4;
    Vec16 sums[kSums];
    for (Vec16& sum : sums) sum = zero16();
    int64_t i = 0;
    for (; i + kSums * kVec16 <= n; i += kSums * kVec16) {
        for (int s = 0; s < kSums; ++s) {
            add_product(sums[s], load16(x + i + s * kVec16), load16(y + i + s * kVec16));
        }
    }
    for (; i + kVec16 <= n; i += kVec16) add_product(sums[0], load16(x + i), load16(y + i));
    if (i < n) add_product(sums[0], load16(x + i, n - i), load16(y + i, n - i));
    add(sums[0], sums[2]);
    add(sums[1], sums[3]);
    add(sums[0], sums[1]);
    return total(sums[0]);
}

// m(x) + 1
template <Modulation M>
inline float factor(float x) {
    if constexpr (M == Modulation::tanh) return tanh_(x) + 1.0f;
    if constexpr (M == Modulation::sigmoid) return (sigmoid(x) - 0.5f) + 1.0f;
    return x + 1.0f;
}

// m'(x) from factor(x)
template <Modulation M>
inline float slope(float f) {
    if constexpr (M == Modulation::tanh) return (2.0f - f) * f;              // 1 − (f − 1)²
    if constexpr (M == Modulation::sigmoid) return (f - 0.5f) * (1.5f - f);  // s · (1 − s)
    return 1.0f;
}

// V of four outputs or fewer, whose rows of weight and out are given.
template <Modulation M>
void forward_rows(float* out, const float* weight, const float* right, const TaskMemory& scratch,
                  int64_t count, const FmmWeightsParams& p) {
    const int64_t n = p.inputs;
    if constexpr (M == Modulation::linear || M == Modulation::demod) {
        microkernel(scratch.left, right, p.rank, n, Modulate{out, weight, n, count, p.scale});
    } else {
        const float* product = scratch.product;
        const float scale = p.scale;
        microkernel(scratch.left, right, p.rank, n, Keep{scratch.product, n});
#pragma omp simd
        for (int64_t i = 0; i < count * n; ++i) out[i] = weight[i] * factor<M>(product[i] * scale);
    }
    if constexpr (M == Modulation::demod) {
        for (int64_t k = 0; k < count; ++k, out += n) {
            const float inverse = 1.0f / (sqrtf(dot(out, out, n)) + kEps);
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) out[i] *= inverse;
        }
    }
}

template <Modulation M>
void forward(const FmmWeightsParams& p) {
    constexpr int64_t kTaskOutputs = 32;
    const int64_t tasks = (p.outputs + kTaskOutputs - 1) / kTaskOutputs;
    const int64_t useful = p.batch * p.outputs * p.inputs / kGrain + 1;
    parallel_for(static_cast<int>(least(useful, p.threads)), p.batch * tasks, [&](int64_t task) {
        const TaskMemory scratch(p.rank, p.inputs);
        const int64_t b = task / tasks, first = task % tasks * kTaskOutputs;
        const float* right = p.right + b * p.rank * p.inputs;
        for (int64_t o = first; o < least(first + kTaskOutputs, p.outputs); o += kMR) {
            const int64_t count = least(kMR, p.outputs - o);
            transpose(scratch.left, p.left + (b * p.outputs + o) * p.rank, count, p.rank);
            forward_rows<M>(p.out + (b * p.outputs + o) * p.inputs, p.weight + o * p.inputs, right,
                            scratch, count, p);
        }
    });
}

// From a row of L·R: the gradient with respect to it, d, and its contribution to dweight.
template <Modulation M>
void backward_row(float* d, float* dweight, float* modulated, const float* grad,
                  const float* weight, const float* product, int64_t inputs, float scale) {
    if constexpr (M != Modulation::demod) {
#pragma omp simd
        for (int64_t i = 0; i < inputs; ++i) {
            const float f = factor<M>(product[i] * scale);
            dweight[i] += grad[i] * f;
            d[i] = grad[i] * weight[i] * slope<M>(f) * scale;
        }
    } else {
        // V/(‖V‖ + ε): dV = (grad − V·⟨grad, V⟩/(‖V‖·(‖V‖ + ε)))/(‖V‖ + ε); for a row of zeros
        // dV = grad/ε.
#pragma omp simd
        for (int64_t i = 0; i < inputs; ++i) modulated[i] = weight[i] * (product[i] * scale + 1.0f);
        const float norm = sqrtf(dot(modulated, modulated, inputs));
        const float inverse = 1.0f / (norm + kEps);
        const float along =
            dot(grad, modulated, inputs) / ((norm > 0.0f ? norm : 1.0f) * (norm + kEps));
#pragma omp simd
        for (int64_t i = 0; i < inputs; ++i) {
            const float g = (grad[i] - modulated[i] * along) * inverse;
            dweight[i] += g * (product[i] * scale + 1.0f);
            d[i] = g * weight[i] * scale;
        }
    }
}

// A run of outputs, over all videos: their dweight and dleft, and their part of dright.
template <Modulation M>
void backward_part(const FmmWeightsBackwardParams& p, int64_t first, int64_t last, float* dright) {
    const TaskMemory scratch(p.rank, p.inputs);
    const int64_t n = p.inputs;
    if (p.grad_expanded) {
        for (int64_t i = 0; i < n; ++i) scratch.expanded[i] = *p.grad;
    }
    for (int64_t i = first * n; i < last * n; ++i) p.dweight[i] = 0.0f;
    for (int64_t i = 0; i < p.batch * p.rank * n; ++i) dright[i] = 0.0f;
    for (int64_t b = 0; b < p.batch; ++b) {
        const float* right = p.right + b * p.rank * n;
        for (int64_t o = first; o < last; o += kMR) {
            const int64_t count = least(kMR, last - o);
            const int64_t at = b * p.outputs + o;
            transpose(scratch.left, p.left + at * p.rank, count, p.rank);
            microkernel(scratch.left, right, p.rank, n, Keep{scratch.product, n});
            for (int64_t k = 0; k < count; ++k) {
                const float* grad = p.grad_expanded ? scratch.expanded : p.grad + (at + k) * n;
                backward_row<M>(scratch.gradient + k * n, p.dweight + (o + k) * n,
                                scratch.modulated, grad, p.weight + (o + k) * n,
                                scratch.product + k * n, n, p.scale);
            }
            for (int64_t i = count * n; i < kMR * n; ++i) scratch.gradient[i] = 0.0f;
            for (int64_t j = 0; j < p.rank; ++j) {
                float sums[kMR];
                dots(sums, scratch.gradient, right + j * n, n);
                for (int64_t k = 0; k < count; ++k) p.dleft[(at + k) * p.rank + j] = sums[k];
            }
            add_outer(dright + b * p.rank * n, scratch.left, scratch.gradient, p.rank, n);
        }
    }
}

template <Modulation M>
void backward(const FmmWeightsBackwardParams& p) {
    const int64_t parts = fmm_weights_parts(p.outputs);
    const int64_t extent = p.batch * p.rank * p.inputs;
    const int64_t useful = p.batch * p.outputs * p.inputs / kGrain + 1;
    const int threads = static_cast<int>(least(useful, p.threads));
    parallel_for(threads, parts, [&](int64_t part) {
        // Four at a time, except for the last.
        const int64_t tiles = (p.outputs + kMR - 1) / kMR;
        const int64_t first = tiles * part / parts * kMR;
        const int64_t last = least(tiles * (part + 1) / parts * kMR, p.outputs);
        backward_part<M>(p, first, last, parts == 1 ? p.dright : p.partials + part * extent);
    });
    if (parts == 1) return;
    parallel_for(threads, p.batch, [&](int64_t b) {
        const int64_t n = p.rank * p.inputs;
        float* out = p.dright + b * n;
        for (int64_t part = 0; part < parts; ++part) {
            const float* sums = p.partials + part * extent + b * n;
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) out[i] = part ? out[i] + sums[i] : sums[i];
        }
    });
}

}  // namespace

void fmm_weights_cpu(const FmmWeightsParams& p) {
    switch (p.modulation) {
        case Modulation::linear:
            return forward<Modulation::linear>(p);
        case Modulation::demod:
            return forward<Modulation::demod>(p);
        case Modulation::tanh:
            return forward<Modulation::tanh>(p);
        case Modulation::sigmoid:
            return forward<Modulation::sigmoid>(p);
    }
}

void fmm_weights_backward_cpu(const FmmWeightsBackwardParams& p) {
    switch (p.modulation) {
        case Modulation::linear:
            return backward<Modulation::linear>(p);
        case Modulation::demod:
            return backward<Modulation::demod>(p);
        case Modulation::tanh:
            return backward<Modulation::tanh>(p);
        case Modulation::sigmoid:
            return backward<Modulation::sigmoid>(p);
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
