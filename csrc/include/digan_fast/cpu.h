#pragma once

#include <string>
#include <vector>

namespace digan_fast {

// Instruction sets that csrc/cpu is compiled for, from the least to the most capable; amx_portable
// is amx with functions instead of the tile unit, for tests on processors without one.
enum class Isa { generic, avx2, avx512, avx512bf16, amx, amx_portable };

const char* isa_name(Isa isa);

std::vector<Isa> built_isas();

std::vector<std::string> cpu_features();

// The features that an instruction set needs and that are missing here, separated by commas.
std::string isa_lacks(Isa isa);

// The most capable instruction set that was built and that this CPU supports, or the one named by
// the environment variable DIGAN_FAST_ISA; throws std::runtime_error if that cannot run here.
Isa selected_isa();

// The one that products in bfloat16 use: the same, or the set without VDPBF16PS where that is
// slower than float32's FMA on rounded numbers, unless the environment names a set.
Isa bfloat16_isa();

// This processor's fastest unit for products in bfloat16, whatever set is selected: tdpbf16ps,
// vdpbf16ps or, for widened numbers, fma; empty where that is not known.
const char* bfloat16_unit();

}  // namespace digan_fast
