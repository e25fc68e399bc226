#include "pages.h"

#if defined(__linux__)
#    include <sys/mman.h>
#endif

namespace digan_fast {

void use_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] int64_t bytes) {
#if defined(MADV_HUGEPAGE)
    constexpr uintptr_t kHuge = 2 << 20;
    const uintptr_t address = reinterpret_cast<uintptr_t>(data);
    const uintptr_t begin = (address + kHuge - 1) / kHuge * kHuge;
    const uintptr_t end = (address + static_cast<uintptr_t>(bytes)) / kHuge * kHuge;
    // Refused where the kernel has none: the pages are small then.
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace digan_fast
