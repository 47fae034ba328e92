/* Streams into a socket, and growing byte buffers. */
#ifndef AIONIC_STREAM_H
#define AIONIC_STREAM_H

#include <pthread.h>
#include <stdint.h>
#include <stdbool.h>
#include "parser.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    STREAM_SUCCESS,
    STREAM_ERROR_NULL,
    STREAM_ERROR_INVALID_FD,
    STREAM_ERROR_MEMORY,
    STREAM_ERROR_TIMEOUT,
    STREAM_ERROR_CLOSED,
    STREAM_ERROR_OVERFLOW
} StreamResult;

typedef void (*StreamDataCallback)(const char *data, size_t length, void *user_data);
typedef void (*StreamErrorCallback)(StreamResult error, void *user_data);

typedef struct {
    uint64_t bytes_sent;       /**< on the wire, framing included */
    uint64_t bytes_received;
    uint64_t chunks_sent;
    uint64_t operations_count;
    uint64_t total_time_ns;
    uint64_t bytes_written;
    uint64_t bytes_read;
} StreamStats;

typedef struct {
    size_t buffer_size;        /**< 0: 8192 */
    bool chunked_encoding;     /**< frame the data as HTTP chunks */
    uint32_t timeout_ms;       /**< 0: wait without limit */
    bool non_blocking;
    uint8_t priority;          /**< higher goes first when several streams are ready */
} StreamConfig;

/** A stream over a connected socket of the host's. The mutex is the library's business. */
typedef struct {
    int client_fd;
    char *buffer;
    size_t buffer_size;
    size_t buffer_position;
    bool is_active;
    bool chunked_encoding;
    pthread_mutex_t mutex;
    StreamConfig config;
    StreamStats stats;
    StreamDataCallback data_callback;
    StreamErrorCallback error_callback;
    void *user_data;
    uint64_t last_activity_ns;
} StreamData;

/** A buffer with one position for reading and writing: set pos to 0 before reading back. */
typedef struct {
    char *data;
    size_t size;
    size_t pos;
    size_t capacity;
    pthread_mutex_t mutex;
    StreamStats stats;
    bool auto_expand;
    size_t max_capacity;
} StreamBuffer;

/* Functions that return int give StreamResult codes where nothing else is said. */

/** Buffer 8192, chunked, 5000 ms, blocking, priority 0. */
int stream_init(StreamData *stream, int client_fd);

/** *stream may be uninitialised. Writes no HTTP head. 0, 1 (NULL, fd < 0) or 3. */
int stream_init_ex(StreamData *stream, int client_fd, const StreamConfig *config);

/** stream_send_chunk_ex with the configured time limit. */
int stream_send_chunk(StreamData *stream, const char *data, size_t length);

/** Sends everything or fails: 1 (NULL, length 0, not active), 4 (time limit), 5 (closed). After success
 *  the data callback is called, after a failure the error callback; no lock is held during either. */
int stream_send_chunk_ex(StreamData *stream, const char *data, size_t length, uint32_t timeout_ms);

/** As stream_send_chunk, with this data callback for this call only. */
StreamResult stream_send_with_callback(StreamData *stream, const char *data, size_t length,
                                       StreamDataCallback callback, void *user_data);

/** Sends the last chunk and marks the stream inactive. 0, or -1: NULL, already ended, send error. */
int stream_end(StreamData *stream);

/** Sends a whole response, head included, with a chunked body. 0 or -1. */
int stream_response(int client_fd, RouteResponse *response);

/** Frees the buffer and marks the stream inactive; the socket stays open. */
void stream_cleanup(StreamData *stream);

void stream_get_stats(const StreamData *stream, StreamStats *stats);
void stream_set_callbacks(StreamData *stream, StreamDataCallback data_callback,
                          StreamErrorCallback error_callback, void *user_data);

/** Grows up to 10 MiB. */
int stream_buffer_init(StreamBuffer *buffer, size_t initial_size);

/** 0, 1 (NULL) or 3. */
int stream_buffer_init_ex(StreamBuffer *buffer, size_t initial_size, bool auto_expand, size_t max_capacity);

/** Writes at pos and advances it. 0, 1 (NULL, length 0) or 6 (does not fit, may not grow). */
int stream_buffer_write(StreamBuffer *buffer, const void *data, size_t length);
StreamResult stream_buffer_write_ex(StreamBuffer *buffer, const void *data, size_t length, bool expand);

/** Reads exactly `length` bytes at pos and advances it. 0, 1, or 6 when fewer are there. */
int stream_buffer_read(StreamBuffer *buffer, void *output, size_t length);
StreamResult stream_buffer_read_ex(StreamBuffer *buffer, void *output, size_t length, bool advance);

void stream_buffer_reset(StreamBuffer *buffer);     /**< size and pos to 0; memory and counters stay */
void stream_buffer_cleanup(StreamBuffer *buffer);
void stream_buffer_get_stats(const StreamBuffer *buffer, StreamStats *stats);

const char *stream_result_to_string(StreamResult result);   /**< static text */
void stream_print_stats(const StreamData *stream);          /**< eight lines to standard output */

#ifdef __cplusplus
}
#endif

#endif
