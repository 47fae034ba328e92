/* stream.c: server-sent events with back-pressure and without a thread.
 *
 *   ./stream 8080
 *   curl -N 'http://127.0.0.1:8080/count?to=10'
 *   curl -N 'http://127.0.0.1:8080/count?to=100000000' | head -3     (the server sees it leave)
 *
 * A stream has a bounded queue. When the client reads slower than we write, a write returns
 * NH_ERR_WOULD_BLOCK and the library calls back once there is room: memory stays small, however
 * long the stream is.
 */
#include <inttypes.h>
#include <neurohttp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static nh_server *server;

struct count {
    uint64_t next;
    uint64_t last;
};

static void on_signal(int number)
{
    (void)number;
    nh_server_stop(server);
}

static void check(nh_status status, const char *what)
{
    if (status == NH_OK)
        return;
    fprintf(stderr, "stream: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

/* Writes until the queue is full or the count is done. Always on the loop thread. */
static void pump(nh_stream *stream, nh_status status, void *user_data)
{
    struct count *count = user_data;
    char number[32];

    while (status == NH_OK && count->next <= count->last) {
        snprintf(number, sizeof number, "%" PRIu64, count->next);
        status = nh_stream_event(stream, NULL, number, NH_ZERO_TERMINATED);
        if (status == NH_OK)
            count->next++;
    }
    if (status == NH_ERR_WOULD_BLOCK)
        return; /* called again when there is room */
    if (status == NH_OK)
        status = nh_stream_event(stream, "done", "[DONE]", NH_ZERO_TERMINATED);
    if (status == NH_ERR_WOULD_BLOCK)
        return; /* all numbers are out, only the last event is missing */
    if (status == NH_OK)
        nh_stream_end(stream);
    else
        nh_stream_abort(stream); /* the client has gone */
}

static nh_status start_count(nh_request *request, nh_response *response, void *user_data)
{
    const char *to = nh_request_query(request, "to", NULL);
    struct count *count = malloc(sizeof *count);
    nh_stream *stream;
    nh_status status;

    (void)user_data;
    if (count == NULL)
        return NH_ERR_MEMORY;
    count->next = 1;
    count->last = to ? strtoull(to, NULL, 10) : 10;

    nh_response_header(response, "Content-Type", "text/event-stream");
    status = nh_response_stream(response, &stream); /* the head goes out now */
    if (status != NH_OK) {
        free(count);
        return status;
    }
    status = nh_stream_on_ready(stream, pump, count, free); /* count is freed with the stream */
    if (status != NH_OK)
        nh_stream_abort(stream);
    else
        pump(stream, NH_OK, count);
    return NH_OK;
}

int main(int argc, char **argv)
{
    nh_server_options options;
    char listen[64];

    snprintf(listen, sizeof listen, "127.0.0.1:%s", argc > 1 ? argv[1] : "8080");
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    check(nh_server_new(&options, &server), "new");
    check(nh_server_route(server, "GET", "/count", 0, start_count, NULL, NULL), "/count");
    check(nh_server_start(server), "start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);

    nh_server_wait(server, -1);
    nh_server_free(server);
    return 0;
}
