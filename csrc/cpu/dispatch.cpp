// Every op is compiled once per instruction set, in the namespace of that set; this file is
// compiled once, for the baseline, and calls the one that is selected.

#include "digan_fast/bias_act.h"
#include "digan_fast/cpu.h"

#if DIGAN_FAST_X86_ISAS
#    define DIGAN_FAST_DISPATCH(op, Params)     \
        namespace generic {                     \
        void op(const Params& params);          \
        }                                       \
        namespace avx2 {                        \
        void op(const Params& params);          \
        }                                       \
        namespace avx512 {                      \
        void op(const Params& params);          \
        }                                       \
        void op(const Params& params) {         \
            switch (selected_isa()) {           \
                case Isa::avx512:               \
                    return avx512::op(params);  \
                case Isa::avx2:                 \
                    return avx2::op(params);    \
                case Isa::generic:              \
                    return generic::op(params); \
            }                                   \
        }
#else
#    define DIGAN_FAST_DISPATCH(op, Params) \
        namespace generic {                 \
        void op(const Params& params);      \
        }                                   \
        void op(const Params& params) { generic::op(params); }
#endif

namespace digan_fast {

DIGAN_FAST_DISPATCH(bias_act_cpu, BiasActParams)

}  // namespace digan_fast
