#include "launch.h"
#include "fused/render_launch.h"
#include "fused/plan.h"
#include "fused/repeat_pixels.cuh"

namespace digan_fast {

void render_cuda(const RenderParams& p, void* workspace, CudaStream stream) {
    using namespace cuda;
    const RenderPlan plan = plan_render(p);
    auto* const room = static_cast<unsigned char*>(workspace);
    const RenderStage* before = nullptr;
    for (const RenderStage& stage : plan.stages) {
        StageParams q = stage.params;
        q.packed = room + stage.packed;
        if (before) {
            q.base = room + before->base_out;
            q.image = reinterpret_cast<const float*>(room + before->image);
        }
        if (stage.base_out >= 0) q.base_out = room + stage.base_out;
        q.out = stage.image >= 0 ? reinterpret_cast<float*>(room + stage.image) : p.out;
        if (p.precision == Precision::bfloat16)
            render_bfloat16(q, stage.width, stream);
        else if (p.precision == Precision::float16)
            render_float16(q, stage.width, stream);
        else if (p.precision == Precision::float32)
            render_float32(q, stage.width, stream);
        else
            render_tf32(q, stage.width, stream);
        before = &stage;
    }
    if (plan.repeat == 1) return;
    const StageParams& last = before->params;
    const Area window{static_cast<int>(p.top), static_cast<int>(p.left), static_cast<int>(p.height),
                      static_cast<int>(p.width)};
    const std::int64_t elements = p.videos * p.frames * last.colours * p.height * p.width;
    const RepeatParams repeated{p.out,       reinterpret_cast<const float*>(room + before->image),
                                window,      last.area,
                                plan.repeat, elements};
    constexpr int kThreads = 256;
    launch("render", repeat_pixels, (elements + kThreads - 1) / kThreads, kThreads, 0, stream,
           repeated);
}

}  // namespace digan_fast
