/* stream.h: chunks on a socket, time limits, gone readers, buffers. SIGPIPE has its default action. */
#include "check.h"
#include "stream.h"
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static int sent_calls, error_calls;
static StreamResult last_error;

static void on_data(const char *data, size_t length, void *user) {
    CHECK(data != NULL && length > 0);
    StreamStats stats;
    stream_get_stats(user, &stats); /* no lock is held */
    sent_calls++;
}

static void on_error(StreamResult error, void *user) {
    CHECK(user != NULL);
    last_error = error;
    error_calls++;
}

static void chunks(void) {
    int pair[2];
    char seen[128] = {0};
    StreamStats stats;
    StreamData stream;
    memset(&stream, 0xff, sizeof stream);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(stream_init(&stream, -1) == STREAM_ERROR_NULL && stream_init(&stream, pair[0]) == 0);
    CHECK(stream.is_active && stream.chunked_encoding && stream.config.timeout_ms == 5000);
    stream_set_callbacks(&stream, on_data, on_error, &stream);
    CHECK(stream_send_chunk(&stream, "hello", 5) == 0);
    CHECK(stream_send_chunk(&stream, "", 0) == STREAM_ERROR_NULL);
    CHECK(stream_send_with_callback(&stream, "sixteen bytes ok", 16, NULL, NULL) == STREAM_SUCCESS);
    CHECK(sent_calls == 1);
    CHECK(stream_end(&stream) == 0 && stream_end(&stream) == -1);
    CHECK(stream_send_chunk(&stream, "late", 4) == STREAM_ERROR_NULL);
    CHECK(recv(pair[1], seen, sizeof seen - 1, 0) > 0);
    CHECK_TEXT(seen, "5\r\nhello\r\n10\r\nsixteen bytes ok\r\n0\r\n\r\n");
    stream_get_stats(&stream, &stats);
    CHECK(stats.chunks_sent == 2 && stats.bytes_sent == strlen(seen));
    stream_print_stats(&stream);
    stream_cleanup(&stream);
    stream_cleanup(&stream);
    close(pair[0]);
    close(pair[1]);
}

static void failures(void) {
    int pair[2];
    static char big[4 << 20];
    StreamConfig config = {.buffer_size = 0, .chunked_encoding = false, .timeout_ms = 50, .priority = 9};
    StreamData stream;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(stream_init_ex(&stream, pair[0], &config) == 0 && stream.buffer_size == 8192);
    stream_set_callbacks(&stream, NULL, on_error, &stream);
    CHECK(stream_send_chunk(&stream, big, sizeof big) == STREAM_ERROR_TIMEOUT && last_error == STREAM_ERROR_TIMEOUT);
    stream_cleanup(&stream);
    close(pair[1]);
    CHECK(stream_init_ex(&stream, pair[0], &config) == 0);
    stream_set_callbacks(&stream, NULL, on_error, &stream);
    CHECK(stream_send_chunk_ex(&stream, "x", 1, 0) == STREAM_ERROR_CLOSED && error_calls == 2);
    stream_cleanup(&stream);
    close(pair[0]);
    int ends[2];
    char seen[8] = {0};
    CHECK(pipe(ends) == 0);
    CHECK(stream_init_ex(&stream, ends[1], &config) == 0 && stream_send_chunk(&stream, "pipe", 4) == 0);
    CHECK(read(ends[0], seen, 7) == 4);
    CHECK_TEXT(seen, "pipe");
    close(ends[0]);
    CHECK(stream_send_chunk(&stream, "x", 1) == STREAM_ERROR_CLOSED);
    stream_cleanup(&stream);
    close(ends[1]);
}

static void responses(void) {
    int pair[2];
    char seen[512] = {0};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    RouteResponse response;
    memset(&response, 0, sizeof response);
    response.status_code = 201;
    response.data = "a\0b{";
    response.length = 4;
    response.headers[0] = "X-Own: yes";
    response.header_count = 1;
    CHECK(stream_response(pair[0], &response) == 0);
    close(pair[0]);
    size_t size = 0;
    ssize_t got;
    while ((got = recv(pair[1], seen + size, sizeof seen - size, 0)) > 0) size += (size_t)got;
    CHECK(strncmp(seen, "HTTP/1.1 201 Created\r\n", 22) == 0);
    CHECK(strstr(seen, "X-Own: yes\r\n") != NULL && strstr(seen, "Transfer-Encoding: chunked\r\n") != NULL);
    CHECK(memcmp(seen + size - 14, "4\r\na\0b{\r\n0\r\n\r\n", 14) == 0);
    close(pair[1]);
    CHECK(stream_response(-1, &response) == -1 && stream_response(0, NULL) == -1);
}

static void buffers(void) {
    StreamBuffer buffer;
    StreamStats stats;
    char out[16];
    memset(&buffer, 0xff, sizeof buffer);
    CHECK(stream_buffer_init(&buffer, 0) == 0 && buffer.max_capacity == 10485760);
    CHECK(stream_buffer_write(&buffer, "0123456789", 10) == 0 && buffer.pos == 10 && buffer.size == 10);
    CHECK(stream_buffer_read(&buffer, out, 1) == STREAM_ERROR_OVERFLOW);
    buffer.pos = 0;
    CHECK(stream_buffer_read_ex(&buffer, out, 4, false) == STREAM_SUCCESS && buffer.pos == 0);
    CHECK(stream_buffer_read(&buffer, out, 10) == 0 && memcmp(out, "0123456789", 10) == 0);
    CHECK(stream_buffer_read(&buffer, out, 1) == STREAM_ERROR_OVERFLOW);
    buffer.pos = 2;
    CHECK(stream_buffer_write(&buffer, "xx", 2) == 0 && buffer.size == 10 && memcmp(buffer.data, "01xx456789", 10) == 0);
    buffer.pos = (size_t)-3;
    CHECK(stream_buffer_write(&buffer, "xxxx", 4) == STREAM_ERROR_OVERFLOW);
    CHECK(stream_buffer_read(&buffer, out, 1) == STREAM_ERROR_OVERFLOW);
    stream_buffer_get_stats(&buffer, &stats);
    CHECK(stats.operations_count == 4);
    stream_buffer_reset(&buffer);
    CHECK(buffer.size == 0 && buffer.pos == 0 && buffer.data != NULL);
    stream_buffer_cleanup(&buffer);
    CHECK(buffer.data == NULL && buffer.capacity == 0);
    stream_buffer_cleanup(&buffer);
    CHECK(stream_buffer_init_ex(&buffer, 4, true, 10) == 0);
    CHECK(stream_buffer_write(&buffer, "123456789", 9) == 0);
    CHECK(stream_buffer_write(&buffer, "ab", 2) == STREAM_ERROR_OVERFLOW && stream_buffer_write(&buffer, "a", 1) == 0);
    stream_buffer_cleanup(&buffer);
    CHECK(stream_buffer_init_ex(&buffer, 4, false, 100) == 0);
    CHECK(stream_buffer_write(&buffer, "12345", 5) == STREAM_ERROR_OVERFLOW);
    CHECK(stream_buffer_write_ex(&buffer, "1234", 4, false) == STREAM_SUCCESS);
    stream_buffer_cleanup(&buffer);
}

int main(void) {
    signal(SIGPIPE, SIG_DFL);
    chunks();
    failures();
    responses();
    buffers();
    CHECK_TEXT(stream_result_to_string(STREAM_ERROR_OVERFLOW), "BUFFER_OVERFLOW");
    CHECK_TEXT(stream_result_to_string((StreamResult)99), "UNKNOWN_ERROR");
    return 0;
}
