#pragma once

namespace digan_fast {

// Of a grid: x grows to the right, y upwards. The values index the columns of frequencies, [K, 2].
enum class Axis : int { x, y };

}  // namespace digan_fast
