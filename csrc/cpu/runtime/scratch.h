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

// 32-bit numbers on whole cache lines, not initialised.
//
// Freed buffers are kept for the next ones, 64 MB of them at most: on a virtual machine a page that
// is touched for the first time costs up to 3 µs, for the 18 MB of one frame at 128² a fifth of its
// time.
//
// Nothing here is inline that a kernel calls: it would be emitted with an instruction set of its
// own.
class Scratch {
  public:
    Scratch() = default;
    explicit Scratch(int64_t size);
    Scratch(Scratch&& other) noexcept;
    Scratch& operator=(Scratch&&) = delete;
    ~Scratch();

    // At least `size` numbers; what was there is lost when it grows. Throws std::bad_alloc.
    float* reserve(int64_t size);
    float* data() const { return data_; }

  private:
    void release();

    float* data_ = nullptr;
    int64_t size_ = 0;
};

// Numbers that are left free behind each part of a buffer: AddressSanitizer knows the ends of
// allocations alone, and is told of these.
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kGap = 16;
void forbid(float* begin, const float* end);
#else
constexpr int64_t kGap = 0;
inline void forbid(float*, const float*) {}
#endif

// Parts of one buffer, each on whole cache lines.
class ScratchParts {
  public:
    // So many copies of areas of these sizes.
    ScratchParts(int64_t copies, const std::vector<int64_t>& sizes);
    float* at(int64_t copy, size_t area = 0) const {
        return memory_.data() + copy * step_ + begin_[area];
    }

  private:
    std::vector<int64_t> begin_;
    int64_t step_ = 0;
    Scratch memory_;
};

}  // namespace digan_fast
