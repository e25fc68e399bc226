#pragma once

namespace digan_fast {

// A block is 4×8 pixels of a grid, or any 32 points, one in each lane of one or more vectors:
// activations are [channel][lane].
constexpr int kBlockRows = 4;
constexpr int kBlockColumns = 8;
constexpr int kBlockPixels = kBlockRows * kBlockColumns;

}  // namespace digan_fast
