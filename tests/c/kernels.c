/* The CPU kernels against their published check values and against a plain loop. */
#include "check.h"

static uint32_t plain(uint32_t crc, const unsigned char *data, size_t len)
{
    int bit;

    crc = ~crc;
    while (len-- > 0) {
        crc ^= *data++;
        for (bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

int main(void)
{
    static unsigned char bytes[70000];
    uint32_t seed = 1;
    size_t i, len, cut;

    CHECK(nh_crc32("123456789", 9) == 0xcbf43926u);
    CHECK(nh_crc32("123456789", NH_ZERO_TERMINATED) == 0xcbf43926u);
    CHECK(nh_crc32("", 0) == 0);
    for (i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)((seed = seed * 1664525u + 1013904223u) >> 24);
    for (len = 0; len < 600; len++)
        CHECK(nh_crc32(bytes + len % 61, len) == plain(0, bytes + len % 61, len));
    CHECK(nh_crc32(bytes, sizeof bytes) == plain(0, bytes, sizeof bytes));
    for (cut = 0; cut < sizeof bytes; cut += 997)
        CHECK(nh_crc32_update(nh_crc32(bytes, cut), bytes + cut, sizeof bytes - cut) ==
              nh_crc32(bytes, sizeof bytes));
    CHECK(nh_crc32_update(0, "123456789", 9) == 0xcbf43926u);
    CHECK(strcmp(nh_cpu_level(), "scalar") == 0 || strcmp(nh_cpu_level(), "sse42") == 0 ||
          strcmp(nh_cpu_level(), "avx2") == 0 || strcmp(nh_cpu_level(), "avx512") == 0);
    return 0;
}
