#pragma once

// The loop nests of every matrix product. One operand is in panels of rows, [depth][R]; the panel
// that begins at row r starts at element r·depth. The other is in lanes, of which a tile's width is
// in registers at once.

#include "gemm/epilogue-inl.h"
#include "gemm/microkernel-inl.h"
#include "simd/lanes-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// call(Constant<R>, row) for each panel of `count` rows.
template <class Call>
static DIGAN_FAST_INLINE void for_each_panel(int64_t count, const Call& call) {
    for (int64_t row = 0; row < count;) {
        const int rows = panel_rows(count - row);
        with_rows(rows, [&](auto mr) { call(mr, row); });
        row += rows;
    }
}

// Pixels as lanes, [block][channel][32]; panels of weights. call(Constant<R>, row, block, lane) for
// each tile of every `images`th block, so that a panel is read once for all of them.
template <class Call>
static DIGAN_FAST_INLINE void for_each_tile_of_blocks(int64_t outputs, int blocks, int images,
                                                      const Call& call) {
    for_each_panel(outputs, [&](auto mr, int64_t row) {
        for (int block = 0; block < blocks; block += images)
            for (int lane = 0; lane < kBlockPixels; lane += kNR) call(mr, row, block, lane);
    });
}

// Pixels as rows, in panels; lanes of weights in panels [depth][width]. call(Constant<R>,
// Constant<V>, row, lane, width) for each tile of R rows and V vectors, after start(lane, width)
// for its lanes.
template <class Start, class Call>
static DIGAN_FAST_INLINE void for_each_tile_of_rows(int64_t rows, int64_t lanes, const Start& start,
                                                    const Call& call) {
    for (int64_t lane = 0; lane < lanes;) {
        const int64_t width = panel_width(lanes, lane);
        start(lane, width);
        with_vectors(width, [&](auto vectors) {
            for_each_panel(rows,
                           [&](auto mr, int64_t row) { call(mr, vectors, row, lane, width); });
        });
        lane += width;
    }
}

template <class Call>
static DIGAN_FAST_INLINE void for_each_tile_of_rows(int64_t rows, int64_t lanes, const Call& call) {
    for_each_tile_of_rows(rows, lanes, [](int64_t, int64_t) {}, call);
}

}  // namespace digan_fast::DIGAN_FAST_ISA
