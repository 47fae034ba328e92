/* Many threads at once: routes come and go, streams are fed and answers sent from everywhere while
 * requests flow. */
#include "check.h"

enum { THREADS = 4, ROUNDS = 50 };

static nh_server *server;
static atomic_int served, finished;

static int feed(void *user_data)
{
    nh_stream *stream = user_data;
    nh_status status = NH_OK;
    char text[16];
    int i;

    for (i = 0; i < 100 && status == NH_OK; i++) {
        snprintf(text, sizeof text, "%d\n", i);
        while ((status = nh_stream_write(stream, text, strlen(text))) == NH_ERR_WOULD_BLOCK)
            CHECK_OK(nh_stream_wait(stream, -1));
    }
    CHECK_OK(status);
    nh_stream_end(stream);
    atomic_fetch_add(&finished, 1);
    return 0;
}

static int reply(void *user_data)
{
    CHECK_OK(nh_deferred_send(user_data, 200, NULL, "deferred", 8));
    atomic_fetch_add(&finished, 1);
    return 0;
}

static nh_status streams(nh_request *request, nh_response *response, void *user_data)
{
    nh_stream *stream;
    thrd_t thread;

    (void)request;
    (void)user_data;
    CHECK_OK(nh_response_stream(response, &stream));
    CHECK(thrd_create(&thread, feed, stream) == thrd_success);
    thrd_detach(thread);
    return NH_OK;
}

static nh_status defers(nh_request *request, nh_response *response, void *user_data)
{
    nh_deferred *deferred;
    thrd_t thread;

    (void)request;
    (void)user_data;
    CHECK_OK(nh_response_defer(response, &deferred));
    CHECK(thrd_create(&thread, reply, deferred) == thrd_success);
    thrd_detach(thread);
    return NH_OK;
}

static nh_status fine(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    return nh_response_send(response, 200, NULL, "fine", 4);
}

/* Reads one answer to its end: each is shorter than the buffer and the peer closes. */
static void expect(const char *target, const char *wanted)
{
    char request[128], answer[4096];
    size_t len = 0;
    ssize_t got;
    int fd = dial(server);

    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
             target);
    say(fd, request);
    while ((got = recv(fd, answer + len, sizeof answer - 1 - len, 0)) > 0)
        len += (size_t)got;
    CHECK(got == 0);
    close(fd);
    answer[len] = '\0';
    CHECK(strstr(answer, " 200 ") != NULL && strstr(answer, wanted) != NULL);
    atomic_fetch_add(&served, 1);
}

static int client(void *number)
{
    char pattern[32];
    int i;

    snprintf(pattern, sizeof pattern, "/own/%d", *(int *)number);
    for (i = 0; i < ROUNDS; i++) {
        CHECK_OK(nh_server_route(server, "GET", pattern, 0, fine, NULL, NULL));
        expect(pattern, "\r\n\r\nfine");
        expect("/streams", "99\n\r\n0\r\n\r\n");
        expect("/defers", "\r\n\r\ndeferred");
        expect("/blocking", "\r\n\r\nfine");
        CHECK_OK(nh_server_unroute(server, "GET", pattern));
    }
    return 0;
}

int main(void)
{
    nh_server_options options = quiet_options();
    thrd_t threads[THREADS];
    int numbers[THREADS], i;

    options.workers = 2;
    CHECK_OK(nh_server_new(&options, &server));
    CHECK_OK(nh_server_route(server, "GET", "/streams", 0, streams, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/defers", 0, defers, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/blocking", NH_ROUTE_BLOCKING, fine, NULL, NULL));
    CHECK_OK(nh_server_start(server));
    for (i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK(thrd_create(&threads[i], client, &numbers[i]) == thrd_success);
    }
    for (i = 0; i < THREADS; i++)
        thrd_join(threads[i], NULL);
    CHECK(atomic_load(&served) == THREADS * ROUNDS * 4);
    wait_for(&finished, THREADS * ROUNDS * 2);
    nh_server_free(server);
    return 0;
}
