#pragma once

namespace digan_fast {

enum class Instruction : int { fma, vdpbf16ps, vpdpbusd };

constexpr int kInstructions = 3;

// Operations per second of one instruction on all threads together, two for each multiplication
// with its addition.
struct PeakParams {
    double* rate;  // stays as it is where the instruction set lacks the instruction
    Instruction instruction;
    int threads;
    double seconds;  // how long each thread counts
};

void peak_cpu(const PeakParams& params);

}  // namespace digan_fast
