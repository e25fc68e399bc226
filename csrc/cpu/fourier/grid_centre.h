#pragma once

// A grid's centre c, about which pixels are mirrored, and a frame's phase there.

#include <cmath>
#include <cstdint>

namespace digan_fast {

// x and y of the centre of side × side pixels whose coordinates are 2i/side − 1.
inline double grid_centre(int64_t side) { return -1.0 / static_cast<double>(side); }

// sin φ′, cos φ′ of a frame, [2, K], from F [K, 2] and φ [K]: φ′ = φ + F·c.
inline void phase_rotation(const float* frequency, const float* phase, int64_t sinusoids,
                           int64_t side, float* rotation) {
    const double centre = grid_centre(side);
    for (int64_t k = 0; k < sinusoids; ++k) {
        const double angle = frequency[2 * k] * centre + frequency[2 * k + 1] * centre + phase[k];
        rotation[k] = static_cast<float>(std::sin(angle));
        rotation[sinusoids + k] = static_cast<float>(std::cos(angle));
    }
}

}  // namespace digan_fast
