#include <cstdlib>
#include <stdexcept>

#include "digan_fast/cpu.h"
#include "runtime/threads.h"

#if defined(__unix__) || defined(__APPLE__)
#    include <pthread.h>
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#    include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#    include <sys/syscall.h>
#    include <unistd.h>
#endif

namespace digan_fast {
namespace {

constexpr const char* kTilePermission = "the kernel's permission for amx-tile";

struct Feature {
    const char* name;
    bool present;
};

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
// The bits of cpuid leaf 7 in EDX.
bool cpu_has(int bit) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> bit & 1);
}

// Tiles need 8 KB more of each thread's state, which the kernel saves only where it is asked to,
// for the whole process (arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)). A kernel that allows it
// enables them in XCR0.
bool tiles_permitted() {
    constexpr long kRequest = 0x1023, kTileData = 18;
    static const bool permitted = cpu_has(24) && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
    return permitted;
}
#else
bool cpu_has(int) { return false; }
bool tiles_permitted() { return false; }
#endif

#if defined(__x86_64__) && defined(__GNUC__)
// Conversions of float16, which not every compiler's __builtin_cpu_supports knows.
bool cpu_has_f16c() {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}
#endif

std::vector<Feature> features() {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    return {
        {"sse4.2", __builtin_cpu_supports("sse4.2") != 0},
        {"avx2", __builtin_cpu_supports("avx2") != 0},
        {"fma", __builtin_cpu_supports("fma") != 0},
        {"f16c", cpu_has_f16c()},
        {"avx512f", __builtin_cpu_supports("avx512f") != 0},
        {"avx512bw", __builtin_cpu_supports("avx512bw") != 0},
        {"avx512dq", __builtin_cpu_supports("avx512dq") != 0},
        {"avx512vl", __builtin_cpu_supports("avx512vl") != 0},
        {"avx512vnni", __builtin_cpu_supports("avx512vnni") != 0},
        {"avx512bf16", __builtin_cpu_supports("avx512bf16") != 0},
        {"amx-bf16", cpu_has(22)},
        {"amx-tile", cpu_has(24)},
        {"amx-int8", cpu_has(25)},
        {kTilePermission, tiles_permitted()},
    };
#elif defined(__aarch64__)
    return {{"neon", true}};
#else
    return {};
#endif
}

// Intel's cores do half as many operations per second with VDPBF16PS as with float32's FMA (145 and
// 285 GFLOP/s on two cores of a Sapphire Rapids); AMD's do twice as many.
bool multiplies_pairs_slowly() {
#if defined(__x86_64__) && defined(__GNUC__)
    return __builtin_cpu_is("intel");
#else
    return false;
#endif
}

std::vector<std::string> required(Isa isa) {
    switch (isa) {
        case Isa::generic:
            return {};
        case Isa::avx2:
            return {"avx2", "fma", "f16c"};
        case Isa::avx512:
            return {"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"};
        case Isa::avx512bf16:
        case Isa::amx_portable:
            return {"avx2",     "fma",      "avx512f",    "avx512bw",
                    "avx512dq", "avx512vl", "avx512bf16", "avx512vnni"};
        case Isa::amx: {
            std::vector<std::string> names = required(Isa::avx512bf16);
            names.insert(names.end(), {"amx-tile", "amx-bf16", "amx-int8", kTilePermission});
            return names;
        }
    }
    return {};
}

}  // namespace

std::string isa_lacks(Isa isa) {
    std::string missing;
    for (const std::string& name : required(isa)) {
        bool present = false;
        for (const Feature& feature : features())
            present |= feature.present && feature.name == name;
        if (!present) missing += (missing.empty() ? "" : ", ") + name;
    }
    return missing;
}

namespace {

Isa requested(const std::string& name) {
    std::string built;
    for (Isa isa : built_isas()) {
        if (name == isa_name(isa)) {
            const std::string missing = isa_lacks(isa);
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
        if (isa != Isa::amx_portable && isa_lacks(isa).empty()) best = isa;
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
        case Isa::amx:
            return "amx";
        case Isa::amx_portable:
            return "amx_portable";
    }
    return "";
}

std::vector<Isa> built_isas() {
#if DIGAN_FAST_PORTABLE_AMX
    return {Isa::generic, Isa::avx2, Isa::avx512, Isa::avx512bf16, Isa::amx, Isa::amx_portable};
#elif DIGAN_FAST_X86_ISAS
    return {Isa::generic, Isa::avx2, Isa::avx512, Isa::avx512bf16, Isa::amx};
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

Isa bfloat16_isa() {
    static const Isa isa = [] {
        const char* const name = std::getenv("DIGAN_FAST_ISA");
        const bool named = name && *name, pairs = selected_isa() == Isa::avx512bf16;
        return pairs && !named && multiplies_pairs_slowly() ? Isa::avx512 : selected_isa();
    }();
    return isa;
}

const char* bfloat16_unit() {
#if defined(__x86_64__) && defined(__GNUC__)
    if (isa_lacks(Isa::amx).empty()) return "tdpbf16ps";
    const bool pairs = isa_lacks(Isa::avx512bf16).empty() && !multiplies_pairs_slowly();
    return pairs ? "vdpbf16ps" : "fma";
#else
    return "";
#endif
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
