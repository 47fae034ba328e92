/* Streams: the bounded queue, waiting and being called back, clients that leave, ends of all kinds. */
#include "check.h"

static nh_stream *kept;
static atomic_int keeping, drops, ready_calls, closed_calls;

static nh_status keep(nh_request *request, nh_response *response, void *user_data)
{
    nh_stream *second = NULL;

    (void)request;
    (void)user_data;
    CHECK_OK(nh_response_header(response, "Content-Type", "text/event-stream"));
    CHECK_OK(nh_response_stream(response, &kept));
    CHECK_STATUS(nh_response_stream(response, &second), NH_ERR_STATE);
    CHECK_STATUS(nh_response_status(response, 201), NH_ERR_STATE); /* the head is out */
    CHECK_STATUS(nh_stream_wait(kept, 10), NH_ERR_STATE);          /* on the loop */
    atomic_store(&keeping, 1);
    return NH_OK;
}

static int begin(nh_server *server)
{
    int small = 4096, fd = dial(server);

    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
    atomic_store(&keeping, 0);
    say(fd, "GET /keep HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    wait_for(&keeping, 1);
    return fd;
}

static void ready(nh_stream *stream, nh_status status, void *user_data)
{
    CHECK(stream == kept && user_data == &drops);
    if (status == NH_ERR_CLOSED)
        atomic_fetch_add(&closed_calls, 1);
    else
        atomic_fetch_add(&ready_calls, 1);
}

/* Writes blocks of 64 KiB until one does not fit. Returns how many did. */
static int fill(void)
{
    static char block[65536];
    nh_status status;
    int written = 0;

    memset(block, 'x', sizeof block);
    while ((status = nh_stream_write(kept, block, sizeof block)) == NH_OK)
        CHECK(++written < 1000); /* the queue and the kernel's buffers are bounded */
    CHECK_STATUS(status, NH_ERR_WOULD_BLOCK);
    return written;
}

/* Reads everything until the close; returns the length of the body, de-chunked. */
static size_t drain(int fd, int *complete)
{
    static char bytes[1 << 23];
    size_t len = 0, body = 0, size;
    char *at, *end;
    ssize_t got;

    while ((got = recv(fd, bytes + len, sizeof bytes - 1 - len, 0)) > 0)
        len += (size_t)got;
    bytes[len] = '\0';
    close(fd);
    at = strstr(bytes, "\r\n\r\n");
    CHECK(at != NULL);
    *complete = 0;
    for (at += 4; *at != '\0'; at = end + 2 + size + 2) {
        size = strtoul(at, &end, 16);
        if (size == 0) {
            *complete = strcmp(end, "\r\n\r\n") == 0;
            break;
        }
        if ((size_t)(bytes + len - end) < 2 + size + 2)
            break; /* cut */
        body += size;
    }
    return body;
}

static void events(nh_server *server)
{
    int complete, fd = begin(server);

    CHECK_OK(nh_stream_event(kept, NULL, "one", 3));
    CHECK_OK(nh_stream_event(kept, "name", "two\nlines", NH_ZERO_TERMINATED));
    CHECK_OK(nh_stream_event(kept, NULL, "", 0));
    CHECK_STATUS(nh_stream_event(kept, "a\nb", "x", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_stream_event(kept, NULL, NULL, 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_OK(nh_stream_write(kept, "", 0)); /* nothing, and above all no last chunk */
    nh_stream_end(kept);
    CHECK(drain(fd, &complete) == strlen("data: one\n\n"
                                         "event: name\ndata: two\ndata: lines\n\n"
                                         "data: \n\n"));
    CHECK(complete);
}

static int reader(void *fd)
{
    int complete;
    size_t len = drain(*(int *)fd, &complete);

    CHECK(complete);
    return (int)(len / 65536);
}

static void waits_for_room(nh_server *server)
{
    static char block[65536];
    thrd_t thread;
    int i, blocks, fd = begin(server), result;

    blocks = fill();
    CHECK_STATUS(nh_stream_wait(kept, 0), NH_ERR_TIMEOUT);
    CHECK_STATUS(nh_stream_wait(kept, 20), NH_ERR_TIMEOUT);
    CHECK(thrd_create(&thread, reader, &fd) == thrd_success);
    for (i = 0; i < 20; i++) {
        while (nh_stream_write(kept, block, sizeof block) == NH_ERR_WOULD_BLOCK)
            CHECK_OK(nh_stream_wait(kept, -1));
        blocks++;
    }
    nh_stream_end(kept);
    thrd_join(thread, &result);
    CHECK(result == blocks);
}

static void too_large(nh_server *server)
{
    char *bytes = calloc(1, 64 << 20);
    int fd = begin(server);

    CHECK(bytes != NULL);
    CHECK_STATUS(nh_stream_write(kept, bytes, 64 << 20), NH_ERR_LIMIT);
    free(bytes);
    CHECK_OK(nh_stream_write(kept, "small", 5));
    nh_stream_end(kept);
    CHECK(strstr(hear(fd), "\r\n5\r\nsmall\r\n0\r\n\r\n") != NULL);
}

static void calls_back(nh_server *server)
{
    thrd_t thread;
    int blocks, result, fd = begin(server);

    atomic_store(&drops, 0);
    CHECK_OK(nh_stream_on_ready(kept, ready, &drops, count_up));
    CHECK_OK(nh_stream_on_ready(kept, ready, &drops, count_up)); /* replaces the first */
    wait_for(&drops, 1);
    blocks = fill();
    CHECK(atomic_load(&ready_calls) == 0);
    CHECK(thrd_create(&thread, reader, &fd) == thrd_success);
    wait_for(&ready_calls, 1); /* once for one WOULD_BLOCK */
    nh_stream_end(kept);
    thrd_join(thread, &result);
    CHECK(result == blocks);
    wait_for(&drops, 2);
    CHECK(atomic_load(&ready_calls) == 1 && atomic_load(&closed_calls) == 0);
}

static void client_gone(nh_server *server)
{
    int turn, fd = begin(server);
    nh_status status = NH_OK;

    atomic_store(&drops, 0);
    CHECK_OK(nh_stream_on_ready(kept, ready, &drops, count_up));
    fill();
    close(fd);
    wait_for(&closed_calls, 1);
    for (turn = 0; turn < 20000 && status != NH_ERR_CLOSED; turn++)
        status = nh_stream_write(kept, "x", 1);
    CHECK_STATUS(status, NH_ERR_CLOSED);
    CHECK_STATUS(nh_stream_event(kept, NULL, "x", 1), NH_ERR_CLOSED);
    CHECK_STATUS(nh_stream_wait(kept, -1), NH_ERR_CLOSED);
    CHECK(atomic_load(&drops) == 0);
    nh_stream_end(kept);
    wait_for(&drops, 1);
    CHECK(atomic_load(&closed_calls) == 1);
}

static void aborted(nh_server *server)
{
    int complete, fd = begin(server);

    CHECK_OK(nh_stream_write(kept, "half", 4));
    nh_stream_abort(kept);
    CHECK(drain(fd, &complete) <= 4);
    CHECK(!complete); /* the client can tell */
}

/* A stream that nobody ends is what the drain waits for. */
static void holds_the_drain(void)
{
    nh_server *server = quiet_server();
    int complete, fd;

    CHECK_OK(nh_server_route(server, "GET", "/keep", 0, keep, NULL, NULL));
    CHECK_OK(nh_server_start(server));
    fd = begin(server);
    nh_server_stop(server);
    CHECK_STATUS(nh_server_wait(server, 50), NH_ERR_TIMEOUT);
    CHECK_OK(nh_stream_write(kept, "last words", 10));
    nh_stream_end(kept);
    CHECK_OK(nh_server_wait(server, -1));
    nh_server_free(server);
    CHECK(drain(fd, &complete) == 10 && complete);
}

static void outlives_its_server(void)
{
    nh_server *server = quiet_server();
    int complete, fd;

    CHECK_OK(nh_server_route(server, "GET", "/keep", 0, keep, NULL, NULL));
    CHECK_OK(nh_server_start(server));
    fd = begin(server);
    nh_server_free(server);
    CHECK_STATUS(nh_stream_write(kept, "x", 1), NH_ERR_CLOSED);
    CHECK_STATUS(nh_stream_wait(kept, 0), NH_ERR_CLOSED);
    nh_stream_abort(kept);
    drain(fd, &complete);
    CHECK(!complete);
}

int main(void)
{
    nh_server *server = quiet_server();

    CHECK_OK(nh_server_route(server, "GET", "/keep", 0, keep, NULL, NULL));
    CHECK_OK(nh_server_start(server));
    events(server);
    waits_for_room(server);
    too_large(server);
    calls_back(server);
    client_gone(server);
    aborted(server);
    nh_server_stop(server);
    CHECK_OK(nh_server_wait(server, -1));
    nh_server_free(server);
    holds_the_drain();
    outlives_its_server();
    return 0;
}
