#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace digan_fast {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// 32-bit elements on whole cache lines, not initialised.
//
// Freed buffers, at most 128 MB, are kept for reuse: on a virtual machine the first touch of a page
// costs up to 3 µs, a fifth of the time of a frame at 128² with its 18 MB.
//
// No function that a kernel calls is inline here: it would be emitted with that kernel's
// instruction set.
class Scratch {
  public:
    Scratch() = default;
    explicit Scratch(int64_t size);
    Scratch(Scratch&& other) noexcept;
    Scratch& operator=(Scratch&&) = delete;
    ~Scratch();

    // At least `size` elements; growing discards the contents. Throws std::bad_alloc.
    float* reserve(int64_t size);
    float* data() const { return data_; }

  private:
    void release();

    float* data_ = nullptr;
    int64_t size_ = 0;
};

// Elements left free after each part of a buffer: AddressSanitizer knows only the ends of
// allocations, and is told about these.
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kGap = 16;
void forbid(float* begin, const float* end);
#else
constexpr int64_t kGap = 0;
inline void forbid(float*, const float*) {}
#endif

// Parts of one buffer, each on whole cache lines.
class ScratchAreas {
  public:
    // `copies` copies of areas of these sizes.
    ScratchAreas(int64_t copies, const std::vector<int64_t>& sizes);
    float* at(int64_t copy, size_t area = 0) const {
        return memory_.data() + copy * stride_ + begin_[area];
    }

  private:
    std::vector<int64_t> begin_;
    int64_t stride_ = 0;
    Scratch memory_;
};

}  // namespace digan_fast
