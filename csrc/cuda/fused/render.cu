#include "dtype.cuh"
#include "fused/plan.h"
#include "fused/repeat_pixels.cuh"
#include "launch.h"

namespace digan_fast {

void render_cuda(const RenderParams& p, void* workspace, CudaStream stream) {
    using namespace cuda;
    const RenderPlan plan = plan_render(p);
    auto* const memory = static_cast<unsigned char*>(workspace);
    const RenderStage* before = nullptr;
    for (const RenderStage& stage : plan.stages) {
        StageParams q = stage.params;
        q.packed = memory + stage.packed;
        if (before) {
            q.base = memory + before->base_out;
            q.image = reinterpret_cast<const float*>(memory + before->image);
        }
        if (stage.base_out >= 0) q.base_out = memory + stage.base_out;
        q.out = stage.image >= 0 ? reinterpret_cast<float*>(memory + stage.image) : p.out;
        if (p.precision == Precision::bfloat16)
            launch_stage<Bfloat16>(q, stage.width, stream);
        else if (p.precision == Precision::float16)
            launch_stage<Float16>(q, stage.width, stream);
        else if (p.precision == Precision::float32)
            launch_stage<Float32>(q, stage.width, stream);
        else
            launch_stage<Tf32>(q, stage.width, stream);
        before = &stage;
    }
    if (plan.repeat == 1) return;
    const StageParams& last = before->params;
    const Area window{static_cast<int>(p.top), static_cast<int>(p.left), static_cast<int>(p.height),
                      static_cast<int>(p.width)};
    const std::int64_t elements = p.videos * p.frames * last.colours * p.height * p.width;
    const RepeatParams repeated{p.out,       reinterpret_cast<const float*>(memory + before->image),
                                window,      last.area,
                                plan.repeat, elements};
    constexpr int kThreads = 256;
    launch("render", repeat_pixels, (elements + kThreads - 1) / kThreads, kThreads, 0, stream,
           repeated);
}

}  // namespace digan_fast
