/* Kernels and what the processor can do. Every kernel runs on every CPU. */
#ifndef ASM_UTILS_H
#define ASM_UTILS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint8_t sse42;
    uint8_t avx2;
    uint8_t avx512;
} cpu_features_t;

/** 1 for what processor and operating system support; filled by the first of the calls below. */
extern cpu_features_t cpu_features;

void detect_cpu_features(void);
int has_sse42_support(void);    /**< 1 or 0 */
int has_avx2_support(void);     /**< 1 or 0 */
int has_avx512_support(void);   /**< 1 or 0 */

/** CRC-32 as in zlib (IEEE 802.3): "123456789" gives 0xCBF43926, nothing gives 0. */
uint32_t crc32_asm(const void *data, size_t length);
uint32_t crc32_asm_avx2(const void *data, size_t length);

/** Scans JSON; no result, no effect. */
void json_fast_tokenizer(const char *json, size_t length);
void json_fast_tokenizer_avx2(const char *json, size_t length);

/** Copies n bytes and returns dest; the regions must not overlap. */
void *memcpy_asm(void *dest, const void *src, size_t n);
void *memcpy_asm_avx2(void *dest, const void *src, size_t n);
void *memcpy_asm_avx512(void *dest, const void *src, size_t n);

#ifdef __cplusplus
}
#endif

#endif
