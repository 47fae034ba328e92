/* Files, clocks, logging, strings, digests, small containers. */
#ifndef AIONIC_UTILS_H
#define AIONIC_UTILS_H

#include <stdint.h>
#include <stddef.h>
#include <time.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    void **items;
    size_t size;
    size_t capacity;
} Array;

typedef struct {
    char *key;
    char *value;
} KeyValuePair;

typedef struct {
    KeyValuePair *items;   /**< in order of insertion */
    size_t size;
    size_t capacity;
} Dictionary;

/** Strings that are freed together. */
typedef struct {
    char *buffer;
    size_t size;
    size_t used;           /**< bytes given out, NULs included */
} string_pool_t;

typedef enum {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_CRITICAL
} log_level_t;

/* Functions that return char * give malloc'd memory, to be freed with free(), or NULL on failure, unless
 * they say otherwise. */

/* ---- files ---- */
char *read_file(const char *filename);   /**< whole file, NUL added */
/** Also tells the size and an errno (0 on success); both pointers may be NULL. */
char *read_file_ex(const char *filename, size_t *out_size, int *error_code);
int mkdir_if_not_exists(const char *path);   /**< 0 when it is a directory afterwards, else -1 */
int create_directory(const char *path);      /**< the same, with parents */
int is_file_exists(const char *path);        /**< 1 or 0 */
char *get_executable_path(void);             /**< absolute */

/* ---- time: monotonic clocks, not the time of day ---- */
uint64_t get_current_time_ms(void);
uint64_t get_current_time_us(void);
uint64_t get_current_time_ns(void);
char *get_current_time_str(void);            /**< time of day, local: YYYY-MM-DD HH:MM:SS */

/* ---- random text: length - 1 letters and digits and a NUL, from the system's generator ---- */
void generate_random_string(char *buffer, size_t length);
void generate_random_string_safe(char *buffer, size_t length);

/* ---- numbers ---- */
int string_to_int(const char *str, int *result);               /**< decimal */
/** 0; -1: NULL or not a number (leading blanks allowed, trailing text not); -2: does not fit an int. */
int string_to_int_ex(const char *str, int *result, int base);

/* ---- logging ---- */
/** Appends to a file; NULL: standard output; a file that cannot be opened: standard error. */
void init_logging(const char *log_file, log_level_t level);
/** printf-like. Lines below the level are dropped; the level is INFO until init_logging. */
void log_message_ex(log_level_t level, const char *format, ...);
/** Level by name: "DEBUG", "WARNING", "ERROR", "CRITICAL"; any other word is INFO. Not a format. */
void log_message(const char *level, const char *message);

/* ---- strings ---- */
char *str_replace(const char *orig, const char *rep, const char *with);   /**< all occurrences; with NULL removes */
/** In the pool when one is given (not to be freed then). */
char *str_replace_ex(const char *orig, const char *rep, const char *with, string_pool_t *pool);
string_pool_t *create_string_pool(size_t size);
char *pool_strdup(string_pool_t *pool, const char *str);   /**< valid until destroy_string_pool; not to be freed */
void destroy_string_pool(string_pool_t *pool);
/** Splits at each occurrence of the text `delim`; empty fields are kept; one extra NULL at the end. */
char **str_split(const char *str, const char *delim, int *count);
char *str_trim(char *str);                                 /**< in place; a pointer into str, not to be freed */
int str_starts_with(const char *str, const char *prefix);  /**< 1 or 0 */
int str_ends_with(const char *str, const char *suffix);    /**< 1 or 0 */
char *url_encode(const char *str);
char *url_decode(const char *str);
void print_hex(const char *data, size_t length);           /**< to standard output */

/* ---- processor ---- */
int has_avx2_support(void);     /**< 1 or 0 */
int has_avx512_support(void);   /**< 1 or 0 */

/* ---- network ---- */
int is_port_available(int port);                                             /**< 1 or 0 */
char *get_ip_address(void);                                                  /**< IPv4 text, "127.0.0.1" at worst */
int resolve_hostname(const char *hostname, char *buffer, size_t buffer_size); /**< 0 or -1 */

/* ---- digests and Base64 ---- */
char *md5_string(const char *str);      /**< lower-case hex */
char *sha256_string(const char *str);   /**< lower-case hex */
/** `output` has room for 4 * ((length + 2) / 3) + 1 bytes. Returns the characters written, or -1. */
int base64_encode(const unsigned char *input, int length, char *output);
int base64_decode(const char *input, unsigned char *output, int *out_length);   /**< 0 or -1 */

/* ---- containers ---- */
Array *array_create(size_t initial_capacity);
void array_free(Array *array);                        /**< not the items */
int array_append(Array *array, void *item);           /**< 0 or -1 */
void *array_get(Array *array, size_t index);          /**< NULL out of range */
size_t array_size(Array *array);
Dictionary *dictionary_create(size_t initial_capacity);
void dictionary_free(Dictionary *dict);
int dictionary_set(Dictionary *dict, const char *key, const char *value);   /**< copies, replaces. 0 or -1 */
char *dictionary_get(Dictionary *dict, const char *key);   /**< lent until the dictionary changes, or NULL */
size_t dictionary_size(Dictionary *dict);

#ifdef __cplusplus
}
#endif

#endif
