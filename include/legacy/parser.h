/* Requests and responses as old handlers, middleware and plugins see them, and small JSON readers. */
#ifndef AIONIC_PARSER_H
#define AIONIC_PARSER_H

#include <stdint.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    HTTP_GET,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_HEAD,
    HTTP_OPTIONS,
    HTTP_PATCH,
    HTTP_UNKNOWN
} HTTPMethod;

/** One request. Header strings read "Name: value" and belong to whoever filled the struct:
 *  free_http_request never frees them one by one. */
typedef struct {
    HTTPMethod method;
    char *path;            /**< up to '?', percent-escapes untouched */
    char *query_string;    /**< after '?', or NULL */
    char *headers[32];
    int header_count;
    char *body;            /**< NUL-terminated, or NULL; may also hold NULs: see body_length */
    size_t body_length;
    char *content_type;    /**< value of Content-Type, or NULL */
} HTTPRequest;

/** One response. `data` is either a complete message (status line, headers, blank line, body) or
 *  just a body; the server tells them apart by a leading "HTTP/1.". Members that the host sets must
 *  come from malloc, except status_message, which is never freed. */
typedef struct {
    int status_code;
    char *status_message;
    char *headers[32];     /**< "Name: value", added to what is sent */
    int header_count;
    char *data;
    size_t length;         /**< bytes of data */
    int is_streaming;      /**< non-zero: the body is sent in chunks */
    void *stream_data;
} RouteResponse;

typedef enum {
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_BOOLEAN,
    JSON_NULL
} JSONType;

/** Result of parse_json_with_fast_tokenizer. After success the caller frees key and value.str. */
typedef struct {
    JSONType type;         /**< kind of the document's root */
    char *key;             /**< first member of a root object, else NULL */
    union {
        char *str;         /**< that member's value as text, else NULL */
        double number;
        int boolean;
    } value;
    JSONType value_type;   /**< JSON_STRING: value.str is the one in use */
} JSONValue;

/** Reads a NUL-terminated request into *request, which is overwritten. An unknown method gives
 *  HTTP_UNKNOWN; headers beyond the 32nd are dropped. Header strings live until
 *  free_http_request. Returns 0, or -1 for NULL or a first line without three words. */
int parse_http_request(const char *raw_request, HTTPRequest *request);

/** Frees path, query_string, body and content_type, then zeroes the struct. NULL is ignored. */
void free_http_request(HTTPRequest *request);

/** Copies the string member "prompt" of a JSON object into the char buffer `output`, decoded, cut to
 *  output_size - 1 and NUL-terminated. Returns 0, or -1: NULL, size 0, no such string member. */
int parse_json(const char *json, void *output, size_t output_size);

/** The same for any member name of at most 100 bytes. */
int json_get_value(const char *json, const char *key, char *output, size_t output_size);

/** Checks `length` bytes of JSON and describes the first member in *result (may be NULL).
 *  Returns 0, or -1 when it is not valid JSON; *result then holds NULL pointers. */
int parse_json_with_fast_tokenizer(const char *json, size_t length, JSONValue *result);

/* The kernels of asm_utils.h. */
extern void json_fast_tokenizer(const char *json, size_t length);
extern void *memcpy_asm(void *dest, const void *src, size_t n);
extern uint32_t crc32_asm(const void *data, size_t length);

#ifdef __cplusplus
}
#endif

#endif
