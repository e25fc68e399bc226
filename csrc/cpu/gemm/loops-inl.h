#pragma once

// The loop nests of every matrix product. One operand is in panels of rows, [depth][R]; the panel
// that begins at row r starts at element r·depth. The lanes of its tiles' vectors are the other
// operand's columns: pixels of blocks, or outputs in panels [depth][width].

#include "gemm/amx_product-inl.h"
#include "gemm/epilogue-inl.h"
#include "gemm/microkernel-inl.h"
#include "simd/lanes-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// call(Constant<R>, row) for each panel of `count` rows of elements T.
template <class T = float, class Call>
static DIGAN_FAST_INLINE void for_each_panel(int64_t count, const Call& call) {
    for (int64_t row = 0; row < count;) {
        const int rows = panel_rows<T>(count - row);
        with_rows<T>(rows, [&](auto mr) DIGAN_FAST_INLINE_LAMBDA { call(mr, row); });
        row += rows;
    }
}

// Pixels as lanes, [block][channel][32]; panels of weights, elements T. call(Constant<R>, row,
// block, lane) for each tile of every `images`th block, so that a panel is read once for all of
// them.
template <class T, class Call>
static DIGAN_FAST_INLINE void for_each_tile_of_blocks(int64_t outputs, int blocks, int images,
                                                      const Call& call) {
    for_each_panel<T>(outputs, [&](auto mr, int64_t row) {
        for (int block = 0; block < blocks; block += images)
            for (int lane = 0; lane < kBlockPixels; lane += kNR) call(mr, row, block, lane);
    });
}

// The same, but product(Constant<R>, row, block, due) for tiles on AMX, whose slices go through
// finish(sums, row, block) while others' products run. A tile has kProducts products of sums
// `Sum`.
template <class T, class Sum, int kProducts, class Product, class Finish, class Call>
static DIGAN_FAST_INLINE void for_each_tile_of_blocks(int64_t outputs, int blocks, int images,
                                                      const Product& product, const Finish& finish,
                                                      const Call& call) {
    if constexpr (kMostRows<T> > kMR) {
        SumBuffers<Sum, kProducts> buffers;
        DueEpilogue<Sum, kProducts, Finish> due(buffers, finish);
        for_each_panel<T>(outputs, [&](auto mr, int64_t row) DIGAN_FAST_INLINE_LAMBDA {
            for (int block = 0; block < blocks; block += images) {
                if constexpr (kOnAmx<decltype(mr)::value>) {
                    product(mr, row, block, due);
                    due.follow(decltype(mr)::value, row, block);
                } else {
                    call(mr, row, block, 0);
                }
            }
        });
        due.finish();
    } else {
        for_each_tile_of_blocks<T>(outputs, blocks, images, call);
    }
}

// Pixels as rows, in panels of elements T; columns of weights in panels [depth][width].
// call(Constant<R>, Constant<V>, row, column, width) for each tile of R rows and V vectors, after
// start(column, width) for its columns.
template <class T, class Start, class Call>
static DIGAN_FAST_INLINE void for_each_tile_of_rows(int64_t rows, int64_t columns,
                                                    const Start& start, const Call& call) {
    for (int64_t column = 0; column < columns;) {
        const int64_t width = panel_width<T>(columns, column);
        start(column, width);
        with_vectors<T>(width, [&](auto vectors) DIGAN_FAST_INLINE_LAMBDA {
            for_each_panel<T>(rows, [&](auto mr, int64_t row) DIGAN_FAST_INLINE_LAMBDA {
                call(mr, vectors, row, column, width);
            });
        });
        column += width;
    }
}

// The same, but product(Constant<R>, row, column, width, due) for tiles on AMX, whose slices go
// through finish(sums, row, column) while others' products run.
template <class T, int kProducts, class Start, class Product, class Finish, class Call>
static DIGAN_FAST_INLINE void for_each_tile_of_rows(int64_t rows, int64_t columns,
                                                    const Start& start, const Product& product,
                                                    const Finish& finish, const Call& call) {
    if constexpr (kMostRows<T> > kMR) {
        SumBuffers<float, kProducts> buffers;
        DueEpilogue<float, kProducts, Finish> due(buffers, finish);
        for_each_tile_of_rows<T>(rows, columns, start,
                                 [&](auto mr, auto vectors, int64_t row, int64_t column,
                                     int64_t width) DIGAN_FAST_INLINE_LAMBDA {
                                     if constexpr (kOnAmx<decltype(mr)::value>) {
                                         product(mr, row, column, width, due);
                                         due.follow(decltype(mr)::value, row, column);
                                     } else {
                                         call(mr, vectors, row, column, width);
                                     }
                                 });
        due.finish();
    } else {
        for_each_tile_of_rows<T>(rows, columns, start, call);
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
