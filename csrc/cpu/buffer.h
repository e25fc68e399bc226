#pragma once

#include <cstdint>

namespace digan_fast {

// 32-bit numbers on whole cache lines, not initialised.
//
// Freed buffers are kept for the next ones, 64 MB of them at most: on a virtual machine a page that
// is touched for the first time costs up to 3 µs, for the 18 MB of one frame at 128² a fifth of its
// time.
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(int64_t size) { reserve(size); }
    Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_) {
        other.data_ = nullptr;
        other.size_ = 0;
    }
    Buffer& operator=(Buffer&&) = delete;
    ~Buffer() { release(); }

    // At least `size` numbers; what was there is lost when it grows. Throws std::bad_alloc.
    float* reserve(int64_t size);
    float* data() const { return data_; }

  private:
    void release();

    float* data_ = nullptr;
    int64_t size_ = 0;
};

}  // namespace digan_fast
