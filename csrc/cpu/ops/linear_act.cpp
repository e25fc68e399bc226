#include "digan_fast/linear_act.h"

#include <cmath>

#include "ops/linear_act_skinny.h"
#include "ops/row_tasks.h"

namespace digan_fast {
namespace {

// A video's rows in strips.
struct Strips {
    int64_t rows, size, count;

    explicit Strips(const LinearActParams& p)
        : rows(p.rows),
          size(strip_rows(p.number, p.videos, p.rows)),
          count((p.rows + size - 1) / size) {}
    int64_t rows_of(int64_t strip) const { return std::min(size, rows - strip * size); }
};

// Some rows of a matrix of void or const void.
template <class T>
struct RowsOf {
    T* rows[kMostStripRows];
    int64_t count, size;

    RowsOf(T* matrix, Number number, int64_t first, int64_t count, int64_t columns)
        : count(count), size(columns * (number == Number::bfloat16 ? 2 : 4)) {
        for (int64_t r = 0; r < count; ++r)
            rows[r] = element_at(matrix, number, (first + r) * columns);
    }
    PrefetchRows next() const { return {rows, count, size}; }
};

// x·Wᵀ: depth the inputs, columns the outputs.
ColumnPanelPacking forward_panels(const LinearActParams& p, float scale) {
    return {.panels = nullptr,
            .weight = p.weight,
            .number = p.number,
            .depth = p.inputs,
            .columns = p.outputs,
            .depth_stride = 1,
            .column_stride = p.inputs,
            .scale = scale,
            .first = 0,
            .last = 0};
}

// dz·W: depth the outputs, columns the inputs.
ColumnPanelPacking backward_panels(const LinearActParams& p) {
    return {.panels = nullptr,
            .weight = p.weight,
            .number = p.number,
            .depth = p.outputs,
            .columns = p.inputs,
            .depth_stride = p.inputs,
            .column_stride = 1,
            .scale = 1.0f,
            .first = 0,
            .last = 0};
}

const float* bias_of(const LinearActParams& p, int64_t video) {
    return p.bias && p.own_biases ? p.bias + video * p.outputs : p.bias;
}

// The gain that is folded into the panels: bfloat16 is multiplied as it is, the sum by the gain.
float panel_gain(const LinearActParams& p) {
    return p.number == Number::bfloat16 ? 1.0f : folded_gain(p.activation, p.gain);
}

}  // namespace

bool linear_act_takes(const LinearActParams& p) {
    if (p.x_number == p.number) return true;
    return p.x_number == Number::bfloat16 && p.number == Number::float32 && is_skinny(p) &&
           p.activation != Activation::sine;
}

void linear_act_cpu(const LinearActParams& p) {
    const Strips strips(p);
    if (p.videos * strips.count == 0) return;
    if (is_skinny(p)) return linear_act_skinny(p);
    const float folded = panel_gain(p);
    const float scale = folded_gain(p.activation, p.gain) / folded;
    const VideoPanels panels(forward_panels(p, folded), p.videos, p.threads);
    const ScratchAreas scratch(p.threads, {strips.size * p.inputs});
    const bool non_temporal = bypasses_caches(p.out, p.number, p.videos * p.rows, p.outputs);
    const int64_t together = std::clamp<int64_t>(p.videos * strips.count / (8 * p.threads), 1, 8);
    const int64_t tasks = (strips.count + together - 1) / together;
    parallel_for_workers(p.threads, p.videos * tasks, [&](int64_t task, int worker) {
        const int64_t video = task / tasks,
                      last = std::min(p.rows, (task % tasks + 1) * together * strips.size);
        for (int64_t first = task % tasks * together * strips.size; first < last;
             first += strips.size) {
            const int64_t count = std::min(strips.size, last - first);
            const int64_t row = video * p.rows + first, next = first + count;
            const RowsOf out(p.out, p.number, row, count, p.outputs);
            const RowsOf following(p.x, p.number, row + count, std::min(strips.size, last - next),
                                   p.inputs);
            pixel_row_gemm({
                .out = out.rows,
                .out_number = p.number,
                .x = element_at(p.x, p.number, row * p.inputs),
                .number = p.number,
                .x_stride = p.inputs,
                .rows = count,
                .packed = scratch.at(worker),
                .panels = panels.of(video),
                .depth = p.inputs,
                .columns = p.outputs,
                .start = {.bias = bias_of(p, video), .scale = folded},
                .scale = scale,
                .activation = {.activation = p.activation, .gain = p.gain, .clamp = p.clamp},
                .non_temporal = non_temporal,
                .next = following.next(),
            });
        }
    });
}

void linear_act_backward_cpu(const LinearActBackwardParams& params) {
    const LinearActParams& p = params.forward;
    const Strips strips(p);
    const bool sine = p.activation == Activation::sine;
    if (is_skinny(p) && !sine) return linear_act_skinny_backward(params);
    const VideoPanels back(backward_panels(p), p.videos, p.threads);
    // sin' needs z, which is recomputed.
    const VideoPanels ahead(forward_panels(p, 1.0f), sine ? p.videos : 0, p.threads);
    enum Sum { kWeight, kBias };
    const PartialSums parts(p.videos, strips.count, {p.outputs * p.inputs, p.outputs});
    const int64_t dz_stride = padded(p.outputs);
    enum Area { kDz, kTail, kPacked, kZ, kPackedDz };
    const ScratchAreas scratch(p.threads,
                               {strips.size * dz_stride, 32 * strips.size,
                                strips.size * (sine ? std::max(p.inputs, p.outputs) : p.outputs),
                                sine ? strips.size * p.outputs : 0,
                                p.number == Number::bfloat16 ? strips.size * dz_stride : 0});
    const bool non_temporal = bypasses_caches(params.dx, p.number, p.videos * p.rows, p.inputs);
    parallel_for_workers(p.threads, p.videos * parts.count(), [&](int64_t task, int worker) {
        const int64_t video = task / parts.count();
        parts.set_to_zero(task);
        float *const dz = scratch.at(worker, kDz), *const tail = scratch.at(worker, kTail);
        float *const packed = scratch.at(worker, kPacked), *const z = scratch.at(worker, kZ);
        const auto [begin, end] = parts.range(task, strips.count);
        for (int64_t strip = begin; strip < end; ++strip) {
            const int64_t count = strips.rows_of(strip);
            const int64_t row = video * p.rows + strip * strips.size;
            const void* const x = element_at(p.x, p.number, row * p.inputs);
            const RowsOf grad(params.grad, p.number, row, count, p.outputs);
            const RowsOf<const void> out(p.out, p.number, row, count, p.outputs);
            const RowsOf inputs(p.x, p.number, row, count, p.inputs);
            const RowsOf dx(params.dx, p.number, row, count, p.inputs);
            if (sine) {
                pixel_row_gemm({
                    .out = RowsOf<void>(z, Number::float32, 0, count, p.outputs).rows,
                    .out_number = Number::float32,
                    .x = x,
                    .number = p.number,
                    .x_stride = p.inputs,
                    .rows = count,
                    .packed = packed,
                    .panels = ahead.of(video),
                    .depth = p.inputs,
                    .columns = p.outputs,
                    .start = {.bias = bias_of(p, video), .scale = 1.0f},
                    .scale = 1.0f,
                    .activation = {.activation = Activation::linear,
                                   .gain = 1.0f,
                                   .clamp = INFINITY},
                    .non_temporal = false,
                });
            }
            activation_backward({
                .dz = dz,
                .dz_number = p.number,
                .dz_stride = dz_stride,
                .grad = grad.rows,
                .out = out.rows,
                .number = p.number,
                .z = z,
                .rows = count,
                .columns = p.outputs,
                .dbias = parts.of(task, kBias),
                .activation = {.activation = p.activation, .gain = p.gain, .clamp = p.clamp},
            });
            pixel_row_gemm({
                .out = dx.rows,
                .out_number = p.number,
                .x = dz,
                .number = p.number,
                .x_stride = dz_stride,
                .rows = count,
                .packed = packed,
                .panels = back.of(video),
                .depth = p.outputs,
                .columns = p.inputs,
                .start = {.bias = nullptr, .scale = 1.0f},
                .scale = 1.0f,
                .activation = {.activation = Activation::linear, .gain = 1.0f, .clamp = INFINITY},
                .non_temporal = non_temporal,
                .next = inputs.next(),
            });
            const int64_t then = strip + 1 < end ? strips.rows_of(strip + 1) : 0;
            const RowsOf next_grad(params.grad, p.number, row + count, then, p.outputs);
            const RowsOf<const void> next_out(p.out, p.number, row + count, then, p.outputs);
            weight_gradient({
                .into = parts.of(task, kWeight),
                .dz = dz,
                .dz_stride = dz_stride,
                .x = x,
                .x_stride = p.inputs,
                .number = p.number,
                .rows = count,
                .outputs = p.outputs,
                .inputs = p.inputs,
                .tail = tail,
                .packed_dz = scratch.at(worker, kPackedDz),
                .next = {next_grad.next(), next_out.next()},
            });
        }
    });
    parts.add_up(params.dweight, kWeight, p.threads);
    if (p.own_biases) {
        parts.add_up(params.dbias, kBias, 1);
    } else {
        parts.add_up_all(params.dbias, kBias);
    }
}

}  // namespace digan_fast
