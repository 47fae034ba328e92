/* The CPU kernels against their published check values and against plain loops; JSON; copies. */
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

/* What nh_json_find says of a member; the raw value when it is there. */
static void check_find(const char *json, const char *member, nh_status status, const char *raw)
{
    const char *value = "untouched";
    size_t len = 99;

    CHECK(nh_json_find(json, NH_ZERO_TERMINATED, member, &value, &len) == status);
    if (status == NH_OK) {
        CHECK(len == strlen(raw) && memcmp(value, raw, len) == 0);
        CHECK(value >= json && value + len <= json + strlen(json));
    } else {
        CHECK(strcmp(value, "untouched") == 0 && len == 99);
    }
}

static void check_get(const char *json, const char *path, nh_status status, const char *text)
{
    char untouched, *value = &untouched;
    size_t len = 99;

    CHECK(nh_json_get(json, strlen(json), path, &value, &len) == status);
    if (status == NH_OK) {
        CHECK(len == strlen(text) && strcmp(value, text) == 0);
        nh_free(value);
        CHECK(nh_json_get(json, strlen(json), path, &value, NULL) == NH_OK);
        nh_free(value);
    } else {
        CHECK(value == &untouched && len == 99);
    }
}

static void check_json(void)
{
    const char *chat = " {\"model\":\"a\\u0041\" , \"n\": [1, {\"x\":null}],\"stre\\u0061m\":true}\n";
    const char *answer = "{\"choices\":[{\"message\":{\"content\":\"a\\n\\ud83d\\ude00\"}}],\"id\":7}";
    const char *value;
    char *copy, deep[300];
    size_t len;

    check_find(chat, "model", NH_OK, "\"a\\u0041\"");
    check_find(chat, "n", NH_OK, "[1, {\"x\":null}]");
    check_find(chat, "stream", NH_OK, "true");
    check_find(chat, "x", NH_ERR_NOT_FOUND, NULL);
    check_find("{\"a\":1,\"a\":2}", "a", NH_OK, "2");
    check_find("{\"\":1}", "", NH_OK, "1");
    check_find("[1]", "a", NH_ERR_NOT_FOUND, NULL);
    check_find("{\"a\":1,}", "a", NH_ERR_INVALID_ARGUMENT, NULL);
    CHECK(strstr(nh_last_error_message(), "byte 7") != NULL);
    check_find("{\"a\":1} x", "a", NH_ERR_INVALID_ARGUMENT, NULL);
    check_find("{\"a\":\"\\ud800\"}", "a", NH_ERR_INVALID_ARGUMENT, NULL);
    check_find("", "a", NH_ERR_INVALID_ARGUMENT, NULL);
    CHECK(nh_json_find(chat, strlen(chat), NULL, &value, &len) == NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_json_find(chat, strlen(chat), "model", NULL, &len) == NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_json_find(chat, strlen(chat), "model", &value, NULL) == NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_json_find(NULL, 5, "model", &value, &len) == NH_ERR_INVALID_ARGUMENT);

    check_get(answer, "choices.0.message.content", NH_OK, "a\n\xf0\x9f\x98\x80");
    check_get(answer, "choices.0.message", NH_OK, "{\"content\":\"a\\n\\ud83d\\ude00\"}");
    check_get(answer, "id", NH_OK, "7");
    check_get(answer, "", NH_OK, answer);
    check_get(answer, "choices.1", NH_ERR_NOT_FOUND, NULL);
    check_get(answer, "choices.x", NH_ERR_NOT_FOUND, NULL);
    check_get("{\"a\":tru}", "a", NH_ERR_INVALID_ARGUMENT, NULL);
    CHECK(nh_json_get("[\"a\\u0000b\"]", 12, "0", &copy, &len) == NH_OK);
    CHECK(len == 3 && memcmp(copy, "a\0b", 4) == 0);
    nh_free(copy);
    CHECK(nh_json_get(answer, strlen(answer), "id", NULL, &len) == NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_json_get(answer, strlen(answer), NULL, &copy, &len) == NH_ERR_INVALID_ARGUMENT);

    memset(deep, '[', 127);
    memset(deep + 127, ']', 127);
    CHECK(nh_json_get(deep, 254, "", &copy, &len) == NH_OK && len == 254);
    nh_free(copy);
    memset(deep, '[', 128);
    memset(deep + 128, ']', 128);
    CHECK(nh_json_get(deep, 256, "", &copy, &len) == NH_ERR_INVALID_ARGUMENT);
}

/* Short copies, and one above the size of any cache that is asked for it. */
static void check_copy(const unsigned char *bytes, size_t size)
{
    static unsigned char from[49 << 20], to[49 << 20];
    const size_t lengths[] = {0, 1, 7, 64, 1000, 69000, sizeof from - 5};
    size_t i, at;

    for (at = 0; at < sizeof from; at += size)
        memcpy(from + at, bytes, sizeof from - at < size ? sizeof from - at : size);
    for (i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memset(to, 0xa5, sizeof to);
        CHECK(nh_copy(to + 3, from + 1, lengths[i]) == to + 3);
        CHECK(memcmp(to + 3, from + 1, lengths[i]) == 0);
        CHECK(to[2] == 0xa5 && to[3 + lengths[i]] == 0xa5);
    }
    CHECK(nh_copy(NULL, from, 4) == NULL);
    CHECK(nh_copy(to, NULL, 4) == to);
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
    CHECK(nh_crc32c("123456789", 9) == 0xe3069283u);
    CHECK(nh_crc32c(NULL, 0) == 0 && nh_crc32c(NULL, 1) == 0);
    check_json();
    check_copy(bytes, sizeof bytes);
    CHECK(strcmp(nh_cpu_level(), "scalar") == 0 || strcmp(nh_cpu_level(), "sse42") == 0 ||
          strcmp(nh_cpu_level(), "avx2") == 0 || strcmp(nh_cpu_level(), "avx512") == 0);
    return 0;
}
