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

// From the sums of one product of a tile to those of its next one.
constexpr int kProductSums = 32 * kNR;

// The sums of a product, which stay in tmm0 … tmm3 until the first dots of the next one, each of
// which needs one of these tiles to be empty. Stored after the product's own dots they would be
// waited for: four dots take 73 cycles instead of 65 on an Intel Xeon, at a depth of 256 in
// bfloat16.
template <class Sum>
class SumsInTiles {
  public:
    // Zeros of no product leave for `nowhere`, [32][kNR].
    explicit SumsInTiles(Sum* nowhere) : nowhere_(nowhere), to_(nowhere) {}
    SumsInTiles(const SumsInTiles&) = delete;
    SumsInTiles& operator=(const SumsInTiles&) = delete;

    // Tile c leaves for memory and is zero.
    template <int c>
    DIGAN_FAST_INLINE void leave() {
#if DIGAN_FAST_AMX
        store_tmm<c>(to_ + c / 2 * kTmmSide * kNR + c % 2 * kTmmSide, 4 * kNR);
        zero_tmm<c>();
#endif
    }
    DIGAN_FAST_INLINE void leave() {
        leave<0>();
        leave<1>();
        leave<2>();
        leave<3>();
        to_ = nowhere_;
    }
    // What is in the tiles now will leave for `to`, [32][kNR].
    DIGAN_FAST_INLINE void stay(Sum* to) { to_ = to; }

  private:
    Sum *nowhere_, *to_;
};

// Where a product's sums go, by way of the tiles.
template <class Sum>
struct ProductSums {
    SumsInTiles<Sum>& tiles;
    Sum* to;

    // Those of the product with an index.
    DIGAN_FAST_INLINE ProductSums of(int64_t index) const {
        return {tiles, to + index * kProductSums};
    }
};

// The operand that is not read again before the level-one cache has forgotten it. Its lines are
// loaded with a hint to displace no others: a panel and the columns of 512 channels, 32 KB each,
// do not fit there together.
enum class Streamed { panel, columns };

// sums[r] = Σ_k rows[k][r] · columns[k], [R][kNR], from a panel of R rows. For each 16 packed
// elements along K, calls ahead(), which prefetches, and due.slices() after their dots: what that
// does in vector registers overlaps with them. Tiles are loaded together: 32 vector instructions
// for each load and dot take 8 ns after four loads, and 12 after one.
template <int R, Streamed kStreamed, class T, class Sum, class Epilogues, class Ahead>
static DIGAN_FAST_INLINE void amx_product(const ProductSums<Sum>& sums, int64_t depth,
                                          const T* panel, const T* columns, int64_t column_stride,
                                          Epilogues& due, Ahead ahead) {
#if DIGAN_FAST_AMX
    static_assert(kOnAmx<R> && sizeof(Sum) == 4 && kNR == 2 * kTmmSide);
    constexpr bool kPanel = kStreamed == Streamed::panel, kColumns = !kPanel;
    constexpr int64_t kRowBytes = 4 * kTmmSide;
    const int64_t step = 4 * column_stride;
    SumsInTiles<Sum>& tiles = sums.tiles;
    const int64_t whole = depth / kTmmSide;
    const T* const end = panel + whole * kTmmSide * R;
    const auto step_of = [&](auto first) DIGAN_FAST_INLINE_LAMBDA {
        constexpr bool kFirst = decltype(first)::value;
        ahead();
        load_tmm<6, kColumns>(columns, step);
        load_tmm<4, kPanel>(panel, kRowBytes);
        load_tmm<7, kColumns>(columns + kTmmSide, step);
        if constexpr (R == 32) load_tmm<5, kPanel>(panel + kTmmSide * kTmmSide, kRowBytes);
        if constexpr (kFirst) tiles.template leave<0>();
        dot_tmm<0, 4, 6>(T{});
        if constexpr (kFirst) tiles.template leave<1>();
        dot_tmm<1, 4, 7>(T{});
        if constexpr (kFirst) tiles.template leave<2>();
        if constexpr (R == 32) dot_tmm<2, 5, 6>(T{});
        if constexpr (kFirst) tiles.template leave<3>();
        if constexpr (R == 32) dot_tmm<3, 5, 7>(T{});
        panel += R * kTmmSide;
        columns += kTmmSide * column_stride;
    };
    due.expect(whole);
    if (whole > 0) {
        step_of(Constant<1>{});
        due.first_slices();
    } else {
        tiles.leave();
    }
    while (panel != end) {
        step_of(Constant<0>{});
        due.slices();
    }
    tiles.stay(sums.to);
    const int64_t left = depth - whole * kTmmSide;
    if (left == 0) return;
    tiles.leave();
    for (int r = 0; r < R; r += kSliceRows) {
        auto slice = slice_of(sums.to + r * kNR);
        if constexpr (kPack<T> == 4) {
            slice = microkernel(slice, left, panel + r, R, columns, column_stride);
        } else {
            microkernel(slice, left, panel + r, R, columns, column_stride);
        }
        for (int i = 0; i < kSliceRows; ++i)
            for (int v = 0; v < 2; ++v)
                store(sums.to + (r + i) * kNR + v * Vec::width, slice.v[i][v]);
    }
#else
    static_assert(sizeof(T) == 0, "a product on AMX in code for processors without it");
#endif
}

// The same without prefetches.
template <int R, Streamed kStreamed, class T, class Sum, class Epilogues>
static DIGAN_FAST_INLINE void amx_product(const ProductSums<Sum>& sums, int64_t depth,
                                          const T* panel, const T* columns, int64_t column_stride,
                                          Epilogues& due) {
    amx_product<R, kStreamed>(sums, depth, panel, columns, column_stride, due,
                              []() DIGAN_FAST_INLINE_LAMBDA {});
}

// Sums of kProducts products for each of two tiles, and of none.
template <class Sum, int kProducts>
struct SumBuffers {
    alignas(64) Sum tiles[2][kProducts * kProductSums];
    alignas(64) Sum nowhere[kProductSums];
};

// The epilogues of tiles of sums, finish(sums, row, column) for each slice of a tile. A tile's
// slices are between the dots of the next one's products, after the first, with which its sums
// leave. A column is any number that tells the tiles of a panel apart.
//
// What it counts is in registers if everything that uses it is inlined, no other object contains
// it, and no address of its own goes to an operation on tiles. On the stack, where loads wait for
// the stores of tiles before them, it makes a product of depth 256 take 372 ns instead of 360.
template <class Sum, int kProducts, class Finish, int kRows = kSliceRows>
class DueEpilogue {
  public:
    DueEpilogue(SumBuffers<Sum, kProducts>& buffers, const Finish& finish)
        : next_(buffers.tiles[0]),
          other_(buffers.tiles[1]),
          tiles_(buffers.nowhere),
          finish_(finish) {}
    DueEpilogue(const DueEpilogue&) = delete;
    DueEpilogue& operator=(const DueEpilogue&) = delete;

    // Where the next tile's products leave their sums.
    DIGAN_FAST_INLINE ProductSums<Sum> sums() { return {tiles_, next_}; }

    // A product with so many calls of slices(), the first one of first_slices(), follows.
    DIGAN_FAST_INLINE void expect(int64_t calls) {
        const int64_t all = kProducts * calls - 1;
        share_ = all > 0 ? slices_ * kWhole / all : 0;
        if (fresh_) credit_ = kWhole - 1 - (kProducts > 1 ? share_ : 0);
        fresh_ = false;
    }

    // Finishes slices of the tile before, as many with each call, none with a tile's first one, so
    // that all are with the last. A block of pixels of several frames has more products and calls.
    DIGAN_FAST_INLINE void slices() {
        credit_ += share_;
        if (credit_ < kWhole || at_ == end_) return;
        slice();
        credit_ -= kWhole;
        for (; credit_ >= kWhole && at_ != end_; credit_ -= kWhole) slice();
    }
    DIGAN_FAST_INLINE void first_slices() {
        if constexpr (kProducts > 1) slices();
    }

    // The products of the tile in sums() are done.
    DIGAN_FAST_INLINE void follow(int rows, int64_t row, int64_t column) {
        while (at_ != end_) slice();
        at_ = next_;
        end_ = next_ + rows * kNR;
        next_ = other_;  // std::swap takes their addresses: 16 frames take 1.03 of the time
        other_ = at_;
        slices_ = rows / kRows;
        fresh_ = true;
        row_ = row;
        column_ = column;
    }

    DIGAN_FAST_INLINE void finish() {
        tiles_.leave();
        while (at_ != end_) slice();
    }

  private:
    // Inlined, it is in ten places of a loop nest: with sanitizers, render/block_kernel.cpp would
    // compile in four minutes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    [[gnu::noinline]] void slice() {
#else
    DIGAN_FAST_INLINE void slice() {
#endif
        finish_(at_, row_, column_);
        at_ += kRows * kNR;
        row_ += kRows;
    }

    // A slice is due when kWhole of it are: each call adds a share.
    static constexpr int64_t kWhole = 1 << 16;

    Sum *next_, *other_;                  // of the tile that is multiplied, and of the other one
    Sum *at_ = nullptr, *end_ = nullptr;  // what is left of the tile before
    int64_t slices_ = 0, share_ = 0, credit_ = 0;
    bool fresh_ = false;  // no product followed that tile
    int64_t row_ = 0, column_ = 0;
    SumsInTiles<Sum> tiles_;
    const Finish& finish_;
};

}  // namespace digan_fast::DIGAN_FAST_ISA
