#pragma once

#include <type_traits>

namespace digan_fast::cuda {

// Calls `visit` with the width as a constant.
template <class Visit>
void with_width(int width, const Visit& visit) {
    switch (width) {
        case 64:
            return visit(std::integral_constant<int, 64>{});
        case 128:
            return visit(std::integral_constant<int, 128>{});
        case 256:
            return visit(std::integral_constant<int, 256>{});
        default:
            return visit(std::integral_constant<int, 512>{});
    }
}

}  // namespace digan_fast::cuda
