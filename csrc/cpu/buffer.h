#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace digan_fast {

// 32-bit numbers on whole cache lines, not initialised.
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(int64_t size) { reserve(size); }

    // At least `size` numbers; what was there is lost when it grows.
    float* reserve(int64_t size) {
        if (size <= size_) return data_.get();
        data_.reset();
        data_.reset(static_cast<float*>(::operator new[](size * sizeof(float), kLine)));
        size_ = size;
        return data_.get();
    }
    float* data() const { return data_.get(); }

  private:
    static constexpr std::align_val_t kLine{64};
    struct Delete {
        void operator()(float* data) const { ::operator delete[](data, kLine); }
    };
    std::unique_ptr<float, Delete> data_;
    int64_t size_ = 0;
};

}  // namespace digan_fast
