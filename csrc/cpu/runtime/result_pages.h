#pragma once

#include <cstdint>

namespace digan_fast {

// Asks the kernel for 2 MB pages for the whole ones within `bytes` from `data` on, which are about
// to be written entirely; without Linux it does nothing. The first touch of 64 MB takes 34 ms in
// pages of 4 KB on a virtual machine and 8 ms in pages of 2 MB.
void use_huge_pages(void* data, int64_t bytes);

// Memory for a large result, in whole pages of 2 MB, not initialised. On Linux it is assembled from
// pages that were given back, wherever they are, and the kernel is asked only for what is missing,
// so that no more is held than was in use at once. At most 2 GB are kept, and no more than what
// they and all that is in use were at once before, as of a reading of the resident size every 8 MB
// of results, where /proc has it: what other code allocates between two results may come on top. At
// such a reading, the kernel is told to reclaim what has been free for a second when memory is
// short. Throws std::bad_alloc.
void* take_pages(int64_t bytes);
void give_pages(void* data, int64_t bytes);
// Whether pages are kept from now on; initially they are.
void keep_pages(bool keep);

}  // namespace digan_fast
