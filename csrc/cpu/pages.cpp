#include "pages.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <vector>

#include "buffer.h"

#if defined(__linux__)
#    include <sys/mman.h>
#endif

namespace digan_fast {
namespace {

constexpr int64_t kHuge = 2 << 20;
constexpr std::align_val_t kAligned{kHuge};
constexpr int64_t kMost = int64_t{2} << 30;

int64_t whole_pages(int64_t bytes) { return (bytes + kHuge - 1) / kHuge * kHuge; }

struct Free {
    void* data;
    int64_t bytes;
};

// Never destroyed: results may be freed at the end of the process. A lock that is not to be had at
// once, as in the child of a fork, means that nothing is kept.
struct Pool {
    std::atomic<int64_t> used{0};  // bytes of results that are alive
    std::mutex mutex;
    bool keeps = true;
    std::vector<Free> free;
    int64_t bytes = 0;  // of the free ones
    int64_t most = 0;   // that were ever used

    // The smallest free one that holds so many bytes, or the largest.
    size_t find(int64_t size) const {
        size_t best = 0;
        for (size_t i = 1; i < free.size(); ++i) {
            const int64_t found = free[i].bytes, so_far = free[best].bytes;
            if (so_far < size ? found > so_far : found >= size && found < so_far) best = i;
        }
        return best;
    }
    Free remove(size_t index) {
        const Free found = free[index];
        free.erase(free.begin() + static_cast<std::ptrdiff_t>(index));
        bytes -= found.bytes;
        return found;
    }
};

Pool& pool() {
    static Pool* const pool = new Pool;
    return *pool;
}

void release(const Free& block) { ::operator delete(block.data, kAligned); }

// A free one that holds so many bytes and is not an eighth larger. Without one, `used` bytes and
// the free ones are kept from being more than were ever used.
void* reused(int64_t size, int64_t used) {
    std::vector<Free> back;
    {
        Pool& kept = pool();
        const std::unique_lock lock(kept.mutex, std::try_to_lock);
        if (!lock) return nullptr;
        kept.most = std::max(kept.most, used);
        if (!kept.free.empty()) {
            const size_t best = kept.find(size);
            const int64_t found = kept.free[best].bytes;
            if (found >= size && found <= size + size / 8) return kept.remove(best).data;
        }
        while (!kept.free.empty() && used + kept.bytes > kept.most)
            back.push_back(kept.remove(kept.find(used + kept.bytes - kept.most)));
    }
    for (const Free& block : back) release(block);
    return nullptr;
}

}  // namespace

void use_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] int64_t bytes) {
#if defined(MADV_HUGEPAGE)
    const uintptr_t address = reinterpret_cast<uintptr_t>(data);
    const uintptr_t begin = (address + kHuge - 1) / kHuge * kHuge;
    const uintptr_t end = (address + static_cast<uintptr_t>(bytes)) / kHuge * kHuge;
    // Refused where the kernel has none: the pages are small then.
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

void* take_pages(int64_t bytes) {
    const int64_t size = whole_pages(bytes);
    Pool& kept = pool();
    const int64_t used = kept.used += size;
    if (void* const found = reused(size, used)) return found;
    try {
        void* const fresh = ::operator new(size, kAligned);
        use_huge_pages(fresh, size);
        return fresh;
    } catch (...) {
        kept.used -= size;
        throw;
    }
}

void give_pages(void* data, int64_t bytes) {
    const Free block{data, whole_pages(bytes)};
    Pool& kept = pool();
    kept.used -= block.bytes;
    const std::unique_lock lock(kept.mutex, std::try_to_lock);
    // Sanitizers see the life of a result only where it is really allocated and freed.
    if (kSanitized || !lock || !kept.keeps || kept.bytes + block.bytes > kMost)
        return release(block);
#if defined(MADV_FREE)
    madvise(block.data, block.bytes, MADV_FREE);

#endif
    kept.free.push_back(block);
    kept.bytes += block.bytes;
}

void keep_pages(bool keep) {
    Pool& kept = pool();
    std::vector<Free> back;
    {
        const std::lock_guard lock(kept.mutex);
        kept.keeps = keep;
        if (keep) return;
        back.swap(kept.free);
        kept.bytes = 0;
    }
    for (const Free& block : back) release(block);
}

}  // namespace digan_fast
