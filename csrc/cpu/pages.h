#pragma once

#include <cstdint>

namespace digan_fast {

// Asks the kernel for pages of 2 MB where `bytes` from `data` on, which are about to be written
// whole, hold any; elsewhere and without Linux it does nothing. Touched for the first time, 64 MB
// take 34 ms in pages of 4 KB on a virtual machine and 8 ms in such.
void use_huge_pages(void* data, int64_t bytes);

// Memory for a large result, in whole pages of 2 MB, not initialised. What is given back serves
// later results of about its size, at most 2 GB of it, which the kernel may take when memory is
// short; and as much goes back to the kernel as what is asked for would exceed what was ever in
// use. Throws std::bad_alloc.
void* take_pages(int64_t bytes);
void give_pages(void* data, int64_t bytes);
// Whether anything is kept, from now on; at first it is.
void keep_pages(bool keep);

}  // namespace digan_fast
