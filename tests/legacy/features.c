/* cpu_features in an executable that is not position-independent: it has a copy of its own. */
#include "asm_utils.h"
#include "check.h"

int main(void) {
    CHECK(sizeof cpu_features == 3);
    detect_cpu_features();
    CHECK(cpu_features.sse42 == has_sse42_support());
    CHECK(cpu_features.avx2 == has_avx2_support() && cpu_features.avx512 == has_avx512_support());
#if defined(__x86_64__)
    __builtin_cpu_init();
    CHECK(cpu_features.sse42 == !!__builtin_cpu_supports("sse4.2"));
    CHECK(cpu_features.avx2 == !!__builtin_cpu_supports("avx2"));
#endif
    return 0;
}
