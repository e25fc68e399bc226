#pragma once

#include <cstdint>

namespace digan_fast {

// Asks the kernel for pages of 2 MB where `bytes` from `data` on, which are about to be written
// whole, hold any; elsewhere and without Linux it does nothing. Touched for the first time, 64 MB
// take 34 ms in pages of 4 KB on a virtual machine and 8 ms in such.
void use_huge_pages(void* data, int64_t bytes);

// Memory for a large result, in whole pages of 2 MB, not initialised. On Linux it is made of the
// pages that were given back, wherever these lie, and the kernel is asked only for what is missing:
// never more is held than was in use at once. At most 2 GB are kept, which the kernel may take when
// memory is short. Throws std::bad_alloc.
void* take_pages(int64_t bytes);
void give_pages(void* data, int64_t bytes);
// Whether anything is kept, from now on; at first it is.
void keep_pages(bool keep);

}  // namespace digan_fast
