#include "pages.h"

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
    std::mutex mutex;
    std::vector<Free> free;  // the oldest first
    int64_t bytes = 0;

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

// The smallest that holds so many bytes and is not an eighth larger; else as many go back to the
// kernel, so that those in use and the free ones together do not grow while free ones are left.
void* reused(int64_t bytes) {
    std::vector<Free> back;
    {
        Pool& kept = pool();
        const std::unique_lock lock(kept.mutex, std::try_to_lock);
        if (!lock) return nullptr;
        size_t best = kept.free.size();
        for (size_t i = 0; i < kept.free.size(); ++i) {
            const int64_t size = kept.free[i].bytes;
            const bool fits = size >= bytes && size <= bytes + bytes / 8;
            if (fits && (best == kept.free.size() || size < kept.free[best].bytes)) best = i;
        }
        if (best < kept.free.size()) return kept.remove(best).data;
        for (int64_t given = 0; given < bytes && !kept.free.empty(); given += back.back().bytes)
            back.push_back(kept.remove(0));
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
    if (void* const found = reused(size)) return found;
    void* const fresh = ::operator new(size, kAligned);
    use_huge_pages(fresh, size);
    return fresh;
}

void give_pages(void* data, int64_t bytes) {
    const Free block{data, whole_pages(bytes)};
    Pool& kept = pool();
    const std::unique_lock lock(kept.mutex, std::try_to_lock);
    // Sanitizers see the life of a result only where it is really allocated and freed.
    if (kSanitized || !lock || kept.bytes + block.bytes > kMost) return release(block);
#if defined(MADV_FREE)
    madvise(block.data, block.bytes, MADV_FREE);

#endif
    kept.free.push_back(block);
    kept.bytes += block.bytes;
}

}  // namespace digan_fast
