#pragma once

namespace digan_fast {

enum class Instruction : int { fma, vdpbf16ps, vpdpbusd, tdpbf16ps, tdpbsud };

constexpr int kInstructions = 5;

// Operations per second of one instruction, summed over all threads; a multiply-add counts as two
// operations.
struct PeakParams {
    double* rate;  // left unchanged if the instruction set lacks the instruction
    Instruction instruction;
    int threads;
    double seconds;  // how long each thread counts
};

void peak_cpu(const PeakParams& params);

}  // namespace digan_fast
