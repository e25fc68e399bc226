#pragma once

#include "digan_fast/upfirdn2d.h"
#include "fields.h"

namespace digan_fast {

inline Fields<Upfirdn2dParams> upfirdn2d_fields() {
    using Params = Upfirdn2dParams;
    const auto axis = [](const std::string& suffix) -> Fields<UpfirdnAxis> {
        return {field(("size" + suffix).c_str(), &UpfirdnAxis::size),
                field(("out_size" + suffix).c_str(), &UpfirdnAxis::out),
                field(("taps" + suffix).c_str(), &UpfirdnAxis::taps),
                field(("before" + suffix).c_str(), &UpfirdnAxis::before)};
    };
    return Fields<Params>{field("out", &Params::out),           field("x", &Params::x),
                          field("filter", &Params::filter),     field("images", &Params::images),
                          field("channels", &Params::channels), field("up", &Params::up),
                          field("down", &Params::down),         field("number", &Params::number)} +
           within(&Params::vertical, axis("_y")) + within(&Params::horizontal, axis("_x"));
}

// False if there are no outputs.
inline bool check_upfirdn2d(const Upfirdn2dParams& p, int numbers) {
    require_extents({{"images", p.images}, {"channels", p.channels}});
    require_positive({{"up", p.up}, {"down", p.down}});
    for (const UpfirdnAxis* axis : {&p.vertical, &p.horizontal}) {
        require_extents({{"size", axis->size}, {"out_size", axis->out}});
        require_positive({{"taps", axis->taps}});
        require(-kFarthest <= axis->before && axis->before <= kFarthest, "before",
                std::to_string(axis->before), "within 2^52");
    }
    require_tensor("size", {p.images, p.channels, p.vertical.size, p.horizontal.size});
    require_tensor("out_size", {p.images, p.channels, p.vertical.out, p.horizontal.out});
    require_number(p.number, numbers);
    return p.images * p.channels * p.vertical.out * p.horizontal.out > 0;
}

}  // namespace digan_fast
