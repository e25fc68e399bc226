#pragma once

// Matrix products on AMX, whose sums leave the tiles through memory, and the epilogues of these
// sums, in vector registers.

#include "gemm/microkernel-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// A slice: rows of a product that go through the epilogue at once.
constexpr int kSliceRows = 4;

template <int R = kSliceRows>
static DIGAN_FAST_INLINE Tile<R> slice_of(const float* sums) {
    return tile_of<R>(sums);
}

static DIGAN_FAST_INLINE IntTile<kSliceRows> slice_of(const int32_t* sums) {
    IntTile<kSliceRows> slice;
    unrolled<2 * kSliceRows>([&](auto i) DIGAN_FAST_INLINE_LAMBDA {
        slice.v[i.value / 2][i.value % 2] = load(sums + i.value * Vec::width);
    });
    return slice;
}

// A product calls between({call, calls}) for each of its calls, evenly among its dots: what that
// does in vector registers overlaps with them.
struct Pace {
    int64_t call, calls;

    // This product's calls among those of `count` alike, of which it is the one with the index.
    DIGAN_FAST_INLINE Pace among(int64_t index, int64_t count) const {
        return {call + index * calls, count * calls};
    }
};

// The operand that is not read again before the level-one cache has forgotten it. Its lines are
// loaded with a hint to displace no others: a panel and the columns of 512 channels, 32 KB each,
// do not fit there together.
enum class Streamed { panel, columns };

// sums[r] = Σ_k rows[k][r] · columns[k], [R][kNR], from a panel of R rows. For each 16 packed
// elements along K, calls ahead(k), which prefetches, and between() after their dots. Tiles are
// loaded together: 32 vector instructions for each load and dot take 8 ns after four loads, and 12
// after one.
template <int R, Streamed kStreamed, class T, class Sum, class Between, class Ahead>
static DIGAN_FAST_INLINE void amx_product(Sum* sums, int64_t depth, const T* panel,
                                          const T* columns, int64_t column_stride,
                                          const Between& between, const Ahead& ahead) {
#if DIGAN_FAST_AMX
    static_assert(kOnAmx<R> && sizeof(Sum) == 4 && kNR == 2 * kTmmSide);
    constexpr bool kPanel = kStreamed == Streamed::panel, kColumns = !kPanel;
    constexpr int64_t kRowBytes = 4 * kTmmSide;
    const int64_t step = 4 * column_stride;
    zero_tmm<0>();
    zero_tmm<1>();
    if constexpr (R == 32) {
        zero_tmm<2>();
        zero_tmm<3>();
    }
    Pace pace{0, depth / kTmmSide};
    int64_t k = 0;
    for (; k + kTmmSide <= depth; k += kTmmSide) {
        ahead(k);
        load_tmm<6, kColumns>(columns, step);
        load_tmm<4, kPanel>(panel, kRowBytes);
        load_tmm<7, kColumns>(columns + kTmmSide, step);
        if constexpr (R == 32) load_tmm<5, kPanel>(panel + kTmmSide * kTmmSide, kRowBytes);
        dot_tmm<0, 4, 6>(T{});
        dot_tmm<1, 4, 7>(T{});
        if constexpr (R == 32) {
            dot_tmm<2, 5, 6>(T{});
            dot_tmm<3, 5, 7>(T{});
        }
        between(pace);
        ++pace.call;
        panel += R * kTmmSide;
        columns += kTmmSide * column_stride;
    }
    store_tmm<0>(sums, 4 * kNR);
    store_tmm<1>(sums + kTmmSide, 4 * kNR);
    if constexpr (R == 32) {
        store_tmm<2>(sums + kTmmSide * kNR, 4 * kNR);
        store_tmm<3>(sums + kTmmSide * kNR + kTmmSide, 4 * kNR);
    }
    if (k == depth) return;
    for (int r = 0; r < R; r += kSliceRows) {
        auto slice = slice_of(sums + r * kNR);
        if constexpr (kPack<T> == 4) {
            slice = microkernel(slice, depth - k, panel + r, R, columns, column_stride);
        } else {
            microkernel(slice, depth - k, panel + r, R, columns, column_stride);
        }
        for (int i = 0; i < kSliceRows; ++i)
            for (int v = 0; v < 2; ++v) store(sums + (r + i) * kNR + v * Vec::width, slice.v[i][v]);
    }
#else
    static_assert(sizeof(T) == 0, "a product on AMX in code for processors without it");
#endif
}

// The same without prefetches.
template <int R, Streamed kStreamed, class T, class Sum, class Between>
static DIGAN_FAST_INLINE void amx_product(Sum* sums, int64_t depth, const T* panel,
                                          const T* columns, int64_t column_stride,
                                          const Between& between) {
    amx_product<R, kStreamed>(sums, depth, panel, columns, column_stride, between, [](int64_t) {});
}

// From the sums of one product of a tile to those of its next one.
constexpr int kProductSums = 32 * kNR;

// The epilogue of a tile of sums, which is due during the next tile's product:
// finish(sums, row, column) for each of its slices. A column is any number that tells the tiles of
// a panel apart.
template <class Sum, int kProducts, class Finish, int kRows = kSliceRows>
class DueEpilogue {
  public:
    explicit DueEpilogue(const Finish& finish) : finish_(finish) {}
    DueEpilogue(const DueEpilogue&) = delete;
    DueEpilogue& operator=(const DueEpilogue&) = delete;

    // Where the next tile's products leave their sums.
    DIGAN_FAST_INLINE Sum* sums() { return sums_[current_]; }

    // Finishes slices, so that all are with the last call.
    DIGAN_FAST_INLINE void slices(const Pace& pace) {
        while (done_ * pace.calls < (pace.call + 1) * rows_) slice();
    }

    void finish() {
        while (done_ < rows_) slice();
    }

    // The tile in sums() is complete.
    DIGAN_FAST_INLINE void follow(int rows, int64_t row, int64_t column) {
        finish();
        current_ ^= 1;
        done_ = 0;
        rows_ = rows;
        row_ = row;
        column_ = column;
    }

  private:
    DIGAN_FAST_INLINE void slice() {
        finish_(sums_[current_ ^ 1] + done_ * kNR, row_ + done_, column_);
        done_ += kRows;
    }

    alignas(64) Sum sums_[2][kProducts * kProductSums];
    const Finish& finish_;
    int current_ = 0, done_ = 0, rows_ = 0;
    int64_t row_ = 0, column_ = 0;
};

}  // namespace digan_fast::DIGAN_FAST_ISA
