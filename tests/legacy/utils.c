/* utils.h: files, clocks, numbers, texts, digests, containers, logging. */
#include "check.h"
#include "utils.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void files(const char *folder) {
    char name[512];
    snprintf(name, sizeof name, "%s/a/b/c", folder);
    CHECK(create_directory(name) == 0 && create_directory(name) == 0);
    CHECK(mkdir_if_not_exists(name) == 0);
    snprintf(name, sizeof name, "%s/x/y", folder);
    CHECK(mkdir_if_not_exists(name) == -1);
    snprintf(name, sizeof name, "%s/file", folder);
    CHECK(is_file_exists(name) == 0);
    FILE *file = fopen(name, "w");
    fwrite("one\0two", 1, 7, file);
    fclose(file);
    CHECK(is_file_exists(name) == 1);
    CHECK(mkdir_if_not_exists(name) == -1);
    CHECK_GIVEN(read_file(name), "one");
    size_t size = 0;
    int code = -1;
    char *content = read_file_ex(name, &size, &code);
    CHECK(content != NULL && size == 7 && code == 0 && memcmp(content, "one\0two", 8) == 0);
    free(content);
    free(read_file_ex(name, NULL, NULL));
    CHECK(read_file("/nowhere/at/all") == NULL);
    CHECK(read_file_ex("/nowhere/at/all", &size, &code) == NULL && code == ENOENT && size == 0);
    char *self = get_executable_path();
    CHECK(self != NULL && self[0] == '/');
    free(self);
}

static void values(void) {
    uint64_t ns = get_current_time_ns(), us = get_current_time_us(), ms = get_current_time_ms();
    CHECK(us >= ns / 1000 && ms >= us / 1000 && us - ns / 1000 < 10000000);
    char text[33], again[33];
    generate_random_string(text, sizeof text);
    generate_random_string_safe(again, sizeof again);
    CHECK(strlen(text) == 32 && strlen(again) == 32 && strcmp(text, again) != 0);
    char one[1] = {'x'};
    generate_random_string(one, 1);
    CHECK(one[0] == '\0');
    one[0] = 'x';
    generate_random_string(one, 0);
    CHECK(one[0] == 'x');
    int number = 7;
    CHECK(string_to_int(" -12", &number) == 0 && number == -12);
    CHECK(string_to_int_ex("ff", &number, 16) == 0 && number == 255);
    CHECK(string_to_int("2147483648", &number) == -2);
    CHECK(string_to_int("12x", &number) == -1 && string_to_int("", &number) == -1);
    char *time = get_current_time_str();
    CHECK(time != NULL && strlen(time) == 19);
    free(time);
}

static void texts(void) {
    CHECK_GIVEN(str_replace("a-b-c", "-", "++"), "a++b++c");
    CHECK_GIVEN(str_replace("a-b-c", "-", NULL), "abc");
    CHECK(str_replace("abc", "", "x") == NULL);
    CHECK_GIVEN(url_encode("a b/\xc3\xbc~"), "a%20b%2F%C3%BC~");
    CHECK_GIVEN(url_decode("a+b%2f%zz"), "a b/%zz");
    int count = 0;
    char **fields = str_split("a,,b,", ",", &count);
    CHECK(count == 4 && fields[4] == NULL);
    CHECK_TEXT(fields[0], "a");
    CHECK_TEXT(fields[1], "");
    CHECK_TEXT(fields[3], "");
    free_list(fields, count);
    fields = str_split("", "--", &count);
    CHECK(count == 1);
    free_list(fields, count);
    CHECK(str_split("a", "", &count) == NULL);
    char padded[] = " \t text here \r\n", blank[] = " \n ";
    CHECK_TEXT(str_trim(padded), "text here");
    CHECK_TEXT(str_trim(blank), "");
    CHECK(str_starts_with("abc", "ab") == 1 && str_starts_with("abc", "bc") == 0);
    CHECK(str_ends_with("abc", "bc") == 1 && str_ends_with("abc", "abcd") == 0);
    print_hex("print me", 8);
}

static void pools(void) {
    string_pool_t *pool = create_string_pool(0);
    char *strings[200];
    for (int i = 0; i < 200; i++) {
        char text[16];
        snprintf(text, sizeof text, "string %d", i);
        strings[i] = pool_strdup(pool, text);
    }
    CHECK_TEXT(strings[0], "string 0");
    CHECK_TEXT(strings[199], "string 199");
    CHECK(pool->used <= pool->size);
    destroy_string_pool(pool);
    pool = create_string_pool(8);
    CHECK_TEXT(str_replace_ex("abc", "b", "xy", pool), "axyc");
    CHECK(str_replace_ex("abc", "b", "long enough", pool) == NULL);
    CHECK_GIVEN(str_replace_ex("abc", "b", "", NULL), "ac");
    destroy_string_pool(pool);
}

static void digests(void) {
    CHECK_GIVEN(md5_string("abc"), "900150983cd24fb0d6963f7d28e17f72");
    CHECK_GIVEN(sha256_string(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    char coded[16];
    CHECK(base64_encode((const unsigned char *)"f\0obar", 6, coded) == 8);
    CHECK_TEXT(coded, "ZgBvYmFy");
    CHECK(base64_encode((const unsigned char *)"f", 1, coded) == 4);
    CHECK_TEXT(coded, "Zg==");
    CHECK(base64_encode(NULL, 0, coded) == 0 && coded[0] == '\0');
    CHECK(base64_encode((const unsigned char *)"f", -1, coded) == -1);
    unsigned char plain[16];
    int length = 0;
    CHECK(base64_decode("ZgBvYmFy", plain, &length) == 0 && length == 6 && memcmp(plain, "f\0obar", 6) == 0);
    CHECK(base64_decode("not base64", plain, &length) == -1);
}

static void containers(void) {
    Array *array = array_create(0);
    int items[100];
    for (int i = 0; i < 100; i++) CHECK(array_append(array, &items[i]) == 0);
    CHECK(array_size(array) == 100 && array->size == 100 && array->capacity >= 100);
    CHECK(array_get(array, 99) == &items[99] && array->items[5] == &items[5]);
    CHECK(array_get(array, 100) == NULL);
    array_free(array);
    Dictionary *dict = dictionary_create(1);
    CHECK(dictionary_set(dict, "a", "1") == 0 && dictionary_set(dict, "b", "2") == 0);
    CHECK(dictionary_set(dict, "a", "3") == 0);
    CHECK_TEXT(dictionary_get(dict, "a"), "3");
    CHECK(dictionary_get(dict, "c") == NULL && dictionary_size(dict) == 2);
    CHECK_TEXT(dict->items[1].key, "b");
    dictionary_free(dict);
    CHECK(array_create((size_t)-1) == NULL);
}

static void network(void) {
    char buffer[64], tiny[4];
    CHECK(resolve_hostname("127.0.0.1", buffer, sizeof buffer) == 0);
    CHECK_TEXT(buffer, "127.0.0.1");
    CHECK(resolve_hostname("127.0.0.1", tiny, sizeof tiny) == -1);
    CHECK(resolve_hostname("", buffer, sizeof buffer) == -1);
    char *address = get_ip_address();
    CHECK(address != NULL && strchr(address, '.') != NULL);
    free(address);
    CHECK(is_port_available(-1) == 0 && is_port_available(65536) == 0 && is_port_available(0) == 0);
}

static void logging(const char *folder) {
    char name[512];
    snprintf(name, sizeof name, "%s/log", folder);
    init_logging(name, LOG_LEVEL_WARNING);
    log_message_ex(LOG_LEVEL_INFO, "not %s", "wanted");
    log_message_ex(LOG_LEVEL_ERROR, "%s %d %5.2f %c %ld %u %x %s %g %g", "text", -1, 3.14159, 'c', 1L << 40, 7u,
                   255, "last", 1.5, 2.5);
    log_message_ex(LOG_LEVEL_CRITICAL, "%.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f", 1.0, 2.0, 3.0, 4.0, 5.0,
                   6.0, 7.0, 8.0, 9.0, 10.0);
    char *big = malloc(100001);
    memset(big, 'x', 100000);
    big[100000] = '\0';
    log_message_ex(LOG_LEVEL_WARNING, "%s|", big);
    free(big);
    log_message("ERROR", "100% plain %s");
    log_message("PLUGIN", "information is below the level");
    init_logging(name, LOG_LEVEL_DEBUG);
    log_message("DEBUG", "last");
    init_logging("/nowhere/at/all/log", LOG_LEVEL_INFO);
    log_message("INFO", "to standard error");
    init_logging(NULL, LOG_LEVEL_INFO);
    log_message("INFO", "to standard output");
    char *content = read_file(name);
    CHECK(content != NULL && strstr(content, "wanted") == NULL && strstr(content, "below") == NULL);
    CHECK(strstr(content, "] [ERROR   ] text -1  3.14 c 1099511627776 7 ff last 1.5 2.5\n") != NULL);
    CHECK(strstr(content, "] [CRITICAL] 1.0 2.0 3.0 4.0 5.0 6.0 7.0 8.0 9.0 10.0\n") != NULL);
    CHECK(strstr(content, "xxx|\n") != NULL && strlen(content) > 100000);
    CHECK(strstr(content, "] [ERROR   ] 100% plain %s\n") != NULL);
    CHECK(strstr(content, "] [DEBUG   ] last\n") != NULL);
    free(content);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    files(argv[1]);
    values();
    texts();
    pools();
    digests();
    containers();
    network();
    logging(argv[1]);
    return 0;
}
