#include "runtime/result_pages.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <new>
#include <vector>

#include "runtime/scratch.h"

#if defined(__linux__)
#    include <fcntl.h>
#    include <sys/mman.h>
#    include <unistd.h>

#    include <cstdlib>
#endif

namespace digan_fast {
namespace {

constexpr int64_t kHuge = 2 << 20;

int64_t whole_pages(int64_t bytes) { return (bytes + kHuge - 1) / kHuge * kHuge; }

}  // namespace

void use_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] int64_t bytes) {
#if defined(MADV_HUGEPAGE)
    const uintptr_t address = reinterpret_cast<uintptr_t>(data);
    const uintptr_t begin = (address + kHuge - 1) / kHuge * kHuge;
    const uintptr_t end = (address + static_cast<uintptr_t>(bytes)) / kHuge * kHuge;
    // Fails if the kernel has no huge pages; the pages are small then.
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// Sanitizers see a result's lifetime only if it is really allocated and freed.
#if defined(MREMAP_FIXED) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

// What the pool holds at most. With 256 MB a generator's training step in float32 at 128² takes 1.4
// (a Zen 5 EPYC) to 1.7 times (an Intel Xeon) as long.
constexpr int64_t kMost = int64_t{2} << 30;
// Bytes taken or given between two readings of the resident size, each of which takes 5 µs.
constexpr int64_t kInterval = int64_t{8} << 20;

using Clock = std::chrono::steady_clock;

// How long pages are free before the kernel may reclaim them. A generator's training step in
// bfloat16 frees 1.7 GB, which it reuses at once: marking them then, which interrupts the other
// threads, takes 2 % of the step on a Zen 5 EPYC.
constexpr Clock::duration kRest = std::chrono::seconds(1);

// Whole 2 MB pages, aligned to their size.
struct PageRun {
    char* data;
    int64_t bytes;
    Clock::time_point since = {};  // when they were given
    bool marked = false;           // the kernel may reclaim them
};

// Never destroyed: results may be freed at the end of the process. If the lock is not free, as can
// happen in the child of a fork, nothing is kept or reused.
struct Pool {
    std::mutex mutex;
    bool keeps = true;
    std::vector<PageRun> free;
    int64_t bytes = 0;   // of the free runs
    int64_t most = 0;    // the most seen resident without the free runs
    int64_t passed = 0;  // bytes taken or given since the resident size was read
};

Pool& pool() {
    static Pool* const pool = new Pool;
    return *pool;
}

void release(PageRun run) {
    // The kernel may have too many mappings to cut one in two; the addresses stay reserved then.
    if (run.bytes && munmap(run.data, run.bytes)) madvise(run.data, run.bytes, MADV_DONTNEED);
}

// The process's resident size, or 0 if it cannot be read. The file is opened every time: in the
// child of a fork, a descriptor would still be the parent's.
int64_t resident() {
    const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    char text[128];
    const ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    text[length] = 0;
    char* rest = nullptr;
    std::strtoll(text, &rest, 10);  // the size of the address space
    return std::strtoll(rest, nullptr, 10) * sysconf(_SC_PAGESIZE);
}

// Takes `bytes` of the free runs, the smallest ones first, or all. The caller releases them,
// without the lock, since that takes milliseconds.
std::vector<PageRun> surplus(Pool& kept, int64_t bytes) {
    std::vector<PageRun> taken;
    const auto smaller = [](const PageRun& a, const PageRun& b) { return a.bytes < b.bytes; };
    while (bytes > 0 && !kept.free.empty()) {
        const auto least = std::min_element(kept.free.begin(), kept.free.end(), smaller);
        const int64_t part = std::min(least->bytes, whole_pages(bytes));
        least->bytes -= part;
        kept.bytes -= part;
        bytes -= part;
        taken.push_back({least->data + least->bytes, part});
        if (!least->bytes) kept.free.erase(least);
    }
    return taken;
}

// Lets the kernel reclaim what has been free for long.
void mark([[maybe_unused]] Pool& kept) {
#    if defined(MADV_FREE)
    const Clock::time_point now = Clock::now();
    for (PageRun& run : kept.free) {
        if (run.marked || now - run.since < kRest) continue;
        madvise(run.data, run.bytes, MADV_FREE);
        run.marked = true;
    }
#    endif
}

// To be called after `bytes` were taken, or to add `given` to the free runs. Returns what is to be
// released so that these and what is in use are never more than the most that was in use when the
// resident size was read.
std::vector<PageRun> balanced(Pool& kept, int64_t bytes, PageRun given = {}) {
    kept.passed += bytes;
    int64_t size = 0;
    if (kept.passed >= kInterval) {
        kept.passed = 0;
        size = resident();
        kept.most = std::max(kept.most, size - kept.bytes);
        mark(kept);
    }
    if (given.bytes) kept.free.push_back(given);
    kept.bytes += given.bytes;
    return surplus(kept, std::max(kept.bytes - kMost, size - kept.most));
}

// Reserves addresses aligned to 2 MB, without memory. Throws std::bad_alloc.
PageRun addresses(int64_t bytes) {
    void* const found =
        mmap(nullptr, bytes + kHuge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) throw std::bad_alloc();
    char* const begin = static_cast<char*>(found);
    const int64_t before = -reinterpret_cast<uintptr_t>(begin) % kHuge;
    release({begin, before});
    release({begin + before + bytes, kHuge - before});
    return {begin + before, bytes};
}

// Maps zeroed memory into `run` from `from` on; if there is none, releases the run and throws.
void map(PageRun run, int64_t from) {
    const PageRun at{run.data + from, run.bytes - from};
    if (!at.bytes) return;
    if (mmap(at.data, at.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED) {
        release(run);
        throw std::bad_alloc();
    }
    use_huge_pages(at.data, at.bytes);
}

// Remaps pages to other addresses without copying; returns how many bytes it could move.
int64_t move(PageRun from, char* to) {
    const auto moves = [&](int64_t begin, int64_t bytes) {
        return mremap(from.data + begin, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to + begin) !=
               MAP_FAILED;
    };
    if (moves(0, from.bytes)) return from.bytes;
    // Pages that were moved before are separate mappings, which not every kernel moves at once.
    int64_t moved = 0;
    while (moved < from.bytes && moves(moved, kHuge)) moved += kHuge;
    return moved;
}

// Free pages of a size: cut from the smallest run that is large enough, else moved from several
// runs, the largest first. Pages that are still missing are mapped anew.
PageRun reused(Pool& kept, int64_t size) {
    if (kept.free.empty()) return {};
    const auto fits = [&](const PageRun& a) { return a.bytes >= size; };
    const auto before = [&](const PageRun& a, const PageRun& b) {
        return fits(a) && fits(b) ? a.bytes < b.bytes : a.bytes > b.bytes;
    };
    const auto best = std::min_element(kept.free.begin(), kept.free.end(), before);
    if (fits(*best)) {
        const PageRun found{best->data, size};
        best->data += size;
        best->bytes -= size;
        kept.bytes -= size;
        if (!best->bytes) kept.free.erase(best);
        return found;
    }
    const PageRun target = addresses(size);
    std::sort(kept.free.begin(), kept.free.end(), before);
    int64_t filled = 0;
    while (filled < size && !kept.free.empty()) {
        PageRun& largest = kept.free.front();
        const int64_t part = std::min(largest.bytes, size - filled);
        const int64_t moved = move({largest.data, part}, target.data + filled);
        filled += moved;
        largest.data += moved;
        largest.bytes -= moved;
        kept.bytes -= moved;
        if (moved < part) break;
        if (!largest.bytes) kept.free.erase(kept.free.begin());
    }
    map(target, filled);
    return target;
}

}  // namespace

void* take_pages(int64_t bytes) {
    const int64_t size = whole_pages(bytes);
    PageRun found{};
    std::vector<PageRun> rest;
    {
        Pool& kept = pool();
        const std::unique_lock lock(kept.mutex, std::try_to_lock);
        if (lock) {
            found = reused(kept, size);
            if (kept.keeps) rest = balanced(kept, size);
        }
    }
    for (const PageRun& run : rest) release(run);
    if (found.data) return found.data;
    const PageRun fresh = addresses(size);
    map(fresh, 0);
    return fresh.data;
}

void give_pages(void* data, int64_t bytes) {
    const PageRun run{static_cast<char*>(data), whole_pages(bytes), Clock::now()};
    std::vector<PageRun> rest{run};
    {
        Pool& kept = pool();
        const std::unique_lock lock(kept.mutex, std::try_to_lock);
        if (lock && kept.keeps) rest = balanced(kept, run.bytes, run);
    }
    for (const PageRun& each : rest) release(each);
}

void keep_pages(bool keep) {
    Pool& kept = pool();
    const std::lock_guard lock(kept.mutex);
    kept.keeps = keep;
    if (keep) return;
    for (const PageRun& run : surplus(kept, kept.bytes)) release(run);
}

#else

void* take_pages(int64_t bytes) {
    return ::operator new(whole_pages(bytes), std::align_val_t{kHuge});
}

void give_pages(void* data, int64_t) { ::operator delete(data, std::align_val_t{kHuge}); }

void keep_pages(bool) {}

#endif

}  // namespace digan_fast
