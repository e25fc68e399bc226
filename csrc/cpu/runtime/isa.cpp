#include <cstdlib>
#include <stdexcept>

#include "digan_fast/cpu.h"
#include "runtime/threads.h"

#if defined(__unix__) || defined(__APPLE__)
#    include <pthread.h>
#endif

namespace digan_fast {
namespace {

struct Feature {
    const char* name;
    bool present;
};

std::vector<Feature> features() {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    return {
        {"sse4.2", __builtin_cpu_supports("sse4.2") != 0},
        {"avx2", __builtin_cpu_supports("avx2") != 0},
        {"fma", __builtin_cpu_supports("fma") != 0},
        {"avx512f", __builtin_cpu_supports("avx512f") != 0},
        {"avx512bw", __builtin_cpu_supports("avx512bw") != 0},
        {"avx512dq", __builtin_cpu_supports("avx512dq") != 0},
        {"avx512vl", __builtin_cpu_supports("avx512vl") != 0},
        {"avx512vnni", __builtin_cpu_supports("avx512vnni") != 0},
        {"avx512bf16", __builtin_cpu_supports("avx512bf16") != 0},
    };
#elif defined(__aarch64__)
    return {{"neon", true}};
#else
    return {};
#endif
}

std::vector<std::string> required(Isa isa) {
    switch (isa) {
        case Isa::generic:
            return {};
        case Isa::avx2:
            return {"avx2", "fma"};
        case Isa::avx512:
            return {"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"};
        case Isa::avx512bf16:
            return {"avx2",     "fma",      "avx512f",    "avx512bw",
                    "avx512dq", "avx512vl", "avx512bf16", "avx512vnni"};
    }
    return {};
}

// The features that `isa` needs and this CPU lacks, separated by commas; empty if it can run.
std::string lacking(Isa isa) {
    std::string missing;
    for (const std::string& name : required(isa)) {
        bool present = false;
        for (const Feature& feature : features())
            present |= feature.present && feature.name == name;
        if (!present) missing += (missing.empty() ? "" : ", ") + name;
    }
    return missing;
}

Isa requested(const std::string& name) {
    std::string built;
    for (Isa isa : built_isas()) {
        if (name == isa_name(isa)) {
            const std::string missing = lacking(isa);
            if (missing.empty()) return isa;
            throw std::runtime_error("DIGAN_FAST_ISA=" + name + ": this CPU lacks " + missing);
        }
        built += (built.empty() ? "" : ", ") + std::string(isa_name(isa));
    }
    throw std::runtime_error("DIGAN_FAST_ISA=" + name + ": expected one of " + built);
}

Isa select() {
    if (const char* name = std::getenv("DIGAN_FAST_ISA"); name && *name) return requested(name);
    Isa best = Isa::generic;
    for (Isa isa : built_isas()) {
        if (lacking(isa).empty()) best = isa;
    }
    return best;
}

}  // namespace

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::generic:
            return "generic";
        case Isa::avx2:
            return "avx2";
        case Isa::avx512:
            return "avx512";
        case Isa::avx512bf16:
            return "avx512bf16";
    }
    return "";
}

std::vector<Isa> built_isas() {
#if DIGAN_FAST_X86_ISAS
    return {Isa::generic, Isa::avx2, Isa::avx512, Isa::avx512bf16};
#else
    return {Isa::generic};
#endif
}

std::vector<std::string> cpu_features() {
    std::vector<std::string> names;
    for (const Feature& feature : features()) {
        if (feature.present) names.emplace_back(feature.name);
    }
    return names;
}

Isa selected_isa() {
    static const Isa isa = select();
    return isa;
}

bool threads_usable() {
#if defined(__unix__) || defined(__APPLE__)
    static std::atomic<bool> forked{false};
    static const int registered =
        pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
    return registered == 0 && !forked.load(std::memory_order_relaxed);
#else
    return true;
#endif
}

}  // namespace digan_fast
