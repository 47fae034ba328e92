/* Deferred answers: every way to end one, each exactly once, in and out of time. */
#include "check.h"

static nh_deferred *kept;
static nh_request *kept_request;
static atomic_int keeping;

/* Defers and leaves the handle in `kept`, for the test's own thread. */
static nh_status keep(nh_request *request, nh_response *response, void *user_data)
{
    nh_deferred *second = NULL;

    (void)user_data;
    CHECK_OK(nh_response_defer(response, &kept));
    CHECK_STATUS(nh_response_defer(response, &second), NH_ERR_STATE);
    CHECK(second == NULL);
    kept_request = request;
    atomic_store(&keeping, 1);
    return NH_ERR_IO; /* after defer, what a handler returns is ignored */
}

/* Sends /keep on a new connection and waits until the handler has run. */
static int begin(nh_server *server)
{
    int fd = dial(server);

    atomic_store(&keeping, 0);
    say(fd, "POST /keep HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
    wait_for(&keeping, 1);
    return fd;
}

static void answered(nh_server *server)
{
    nh_response *response;
    const char *body;
    char *answer;
    size_t len;
    int fd;

    fd = begin(server);
    body = nh_request_body(kept_request, &len); /* lent until the answer is out */
    CHECK(len == 4 && memcmp(body, "body", 4) == 0);
    CHECK(!nh_deferred_cancelled(kept));
    CHECK_STATUS(nh_deferred_send(kept, 99, NULL, "x", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_deferred_send(kept, 200, "a\r\nb", "x", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_deferred_send(kept, 200, NULL, NULL, 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_OK(nh_deferred_send(kept, 202, "text/plain", "later", NH_ZERO_TERMINATED));
    answer = hear(fd);
    CHECK(status_of(answer) == 202);
    CHECK_TEXT(body_of(answer), "later");

    fd = begin(server);
    response = nh_deferred_response(kept);
    CHECK(response != NULL);
    CHECK_OK(nh_response_header(response, "X-Late", "yes"));
    CHECK_OK(nh_response_send(response, 203, "text/plain", "piece by piece", NH_ZERO_TERMINATED));
    CHECK_OK(nh_deferred_done(kept));
    answer = hear(fd);
    CHECK(status_of(answer) == 203 && strstr(answer, ": yes\r\n") != NULL);
    CHECK_TEXT(body_of(answer), "piece by piece");

    fd = begin(server);
    CHECK_OK(nh_deferred_done(kept)); /* nothing was filled */
    CHECK(status_of(hear(fd)) == 204);

    fd = begin(server);
    nh_deferred_free(kept); /* unsent */
    CHECK(status_of(hear(fd)) == 500);
}

static void streamed(nh_server *server)
{
    nh_stream *stream;
    char *answer;
    int fd = begin(server);

    CHECK_OK(nh_response_stream(nh_deferred_response(kept), &stream));
    CHECK_OK(nh_deferred_done(kept)); /* ends the deferred only */
    CHECK_OK(nh_stream_write(stream, "from a stream", 13));
    nh_stream_end(stream);
    answer = hear(fd);
    CHECK(status_of(answer) == 200);
    CHECK(strstr(answer, "\r\nd\r\nfrom a stream\r\n0\r\n\r\n") != NULL);
}

/* Gone for good: a mere close cannot be told from a client that only sends no more. */
static void reset(int fd)
{
    struct linger now = {1, 0};

    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    close(fd);
}

static void client_gone(nh_server *server)
{
    int turn, fd = begin(server);

    reset(fd);
    for (turn = 0; turn < 20000 && !nh_deferred_cancelled(kept); turn++)
        poll(NULL, 0, 1);
    CHECK(nh_deferred_cancelled(kept));
    CHECK(nh_request_body(kept_request, NULL) != NULL); /* the exchange survives the connection */
    CHECK_STATUS(nh_deferred_send(kept, 200, NULL, "x", 1), NH_ERR_CLOSED); /* and ends it */

    fd = begin(server);
    reset(fd);
    nh_deferred_free(kept);

    /* Only half closed: it still listens, and gets its answer. */
    fd = begin(server);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    CHECK_TEXT(body_of(get(server, "/quick")), "quick");
    CHECK_OK(nh_deferred_send(kept, 200, NULL, "half", 4));
    CHECK_TEXT(body_of(hear(fd)), "half");
}

static nh_status quick(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    return nh_response_send(response, 200, NULL, "quick", 5);
}

/* A deferred answer holds its connection only: later pipelined requests wait, others do not. */
static void order(nh_server *server)
{
    int fd = dial(server);
    char *answer, *second;

    atomic_store(&keeping, 0);
    say(fd, "GET /keep HTTP/1.1\r\nHost: h\r\n\r\n"
            "GET /quick HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    wait_for(&keeping, 1);
    CHECK_TEXT(body_of(get(server, "/quick")), "quick");
    CHECK_OK(nh_deferred_send(kept, 200, NULL, "slow", 4));
    answer = hear(fd);
    second = strstr(answer, "slowHTTP/1.1 200");
    CHECK(second != NULL);
    CHECK_TEXT(body_of(second), "quick");
}

static void outlives_its_server(void)
{
    nh_server *server = quiet_server();
    int fd;

    CHECK_OK(nh_server_route(server, "*", "/keep", 0, keep, NULL, NULL));
    CHECK_OK(nh_server_start(server));
    fd = begin(server);
    nh_server_free(server);
    CHECK(nh_deferred_cancelled(kept));
    CHECK_TEXT(nh_request_method(kept_request, NULL), "POST");
    CHECK_STATUS(nh_deferred_send(kept, 200, NULL, "x", 1), NH_ERR_CLOSED);
    hear(fd);
}

int main(void)
{
    nh_server *server = quiet_server();

    CHECK_OK(nh_server_route(server, "*", "/keep", 0, keep, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/quick", 0, quick, NULL, NULL));
    CHECK_OK(nh_server_start(server));
    answered(server);
    streamed(server);
    client_gone(server);
    order(server);
    nh_server_stop(server);
    CHECK_OK(nh_server_wait(server, -1));
    nh_server_free(server);
    outlives_its_server();
    return 0;
}
