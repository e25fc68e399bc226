#include "runtime/scratch.h"

#include <mutex>
#include <new>
#include <vector>

#include "runtime/result_pages.h"

#if defined(__SANITIZE_ADDRESS__)
#    include <sanitizer/asan_interface.h>
#endif

namespace digan_fast {
namespace {

constexpr std::align_val_t kLine{64};
// Sanitizers see a buffer's lifetime only if it is really allocated and freed.
constexpr bool kReused = !kSanitized;
constexpr int64_t kKept = kReused ? (int64_t{128} << 20) / sizeof(float) : 0;

struct Free {
    float* data;
    int64_t size;
};

// Never destroyed: buffers may be freed at the end of the process. If the lock is not free, as can
// happen in the child of a fork, nothing is kept.
struct Pool {
    std::mutex mutex;
    std::vector<Free> free;
    int64_t size = 0;
};

Pool& pool() {
    static Pool* const pool = new Pool;
    return *pool;
}

// The smallest kept buffer that holds `size` elements and is at most twice as large.
Free taken(int64_t size) {
    Pool& kept = pool();
    const std::unique_lock lock(kept.mutex, std::try_to_lock);
    if (!lock) return {nullptr, 0};
    auto best = kept.free.end();
    for (auto it = kept.free.begin(); it != kept.free.end(); ++it) {
        const bool fits = it->size >= size && it->size <= 2 * size;
        if (fits && (best == kept.free.end() || it->size < best->size)) best = it;
    }
    if (best == kept.free.end()) return {nullptr, 0};
    const Free found = *best;
    kept.free.erase(best);
    kept.size -= found.size;
    return found;
}

bool kept(Free buffer) {
    Pool& kept = pool();
    const std::unique_lock lock(kept.mutex, std::try_to_lock);
    if (!lock || buffer.size > kKept) return false;
    // The oldest buffers are freed first.
    while (kept.size + buffer.size > kKept) {
        ::operator delete[](kept.free.front().data, kLine);
        kept.size -= kept.free.front().size;
        kept.free.erase(kept.free.begin());
    }
    kept.free.push_back(buffer);
    kept.size += buffer.size;
    return true;
}

}  // namespace

Scratch::Scratch(int64_t size) { reserve(size); }

Scratch::Scratch(Scratch&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
}

Scratch::~Scratch() { release(); }

float* Scratch::reserve(int64_t size) {
    if (size <= size_ && kReused) return data_;
    release();
    const Free found = taken(size);
    if (found.data) {
        data_ = found.data;
        size_ = found.size;
        return data_;
    }
    data_ = static_cast<float*>(::operator new[](size * sizeof(float), kLine));
    size_ = size;
    use_huge_pages(data_, size * static_cast<int64_t>(sizeof(float)));
    return data_;
}

void Scratch::release() {
    if (data_ && !kept({data_, size_})) ::operator delete[](data_, kLine);
    data_ = nullptr;
    size_ = 0;
}

#if defined(__SANITIZE_ADDRESS__)
void forbid(float* begin, const float* end) {
    ASAN_POISON_MEMORY_REGION(begin, (end - begin) * sizeof(float));
}
#endif

ScratchAreas::ScratchAreas(int64_t copies, const std::vector<int64_t>& sizes) {
    constexpr int64_t kLineNumbers = static_cast<int64_t>(kLine) / sizeof(float);
    for (const int64_t size : sizes) {
        begin_.push_back(stride_);
        stride_ += (size + kLineNumbers - 1) / kLineNumbers * kLineNumbers + kGap;
    }
    memory_.reserve(copies * stride_);
    for (int64_t copy = 0; copy < copies; ++copy)
        for (size_t i = 0; i < sizes.size(); ++i)
            forbid(at(copy, i) + sizes[i],
                   i + 1 < sizes.size() ? at(copy, i + 1) : at(copy) + stride_);
}

}  // namespace digan_fast
