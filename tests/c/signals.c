/* Signals in a C host that ignores none of them: nh_server_stop inside a handler, and a client that
 * leaves during a write must not raise SIGPIPE. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>
#include <signal.h>

static nh_server *server;
static nh_stream *kept;
static atomic_int keeping;

static void on_signal(int number)
{
    (void)number;
    errno = 4711;
    nh_server_stop(server);
    if (errno != 4711)
        _exit(9);
}

static nh_status keep(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    CHECK_OK(nh_response_stream(response, &kept));
    atomic_store(&keeping, 1);
    return NH_OK;
}

static void no_sigpipe(void)
{
    static char block[65536];
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    nh_status status = NH_OK;
    int fd, round;

    for (round = 0; round < 20; round++) {
        fd = dial(server);
        atomic_store(&keeping, 0);
        say(fd, "GET /keep HTTP/1.1\r\nHost: h\r\n\r\n");
        wait_for(&keeping, 1);
        if (round % 2 == 0)
            CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
        close(fd);
        do {
            status = nh_stream_write(kept, block, sizeof block);
            if (status == NH_ERR_WOULD_BLOCK)
                status = nh_stream_wait(kept, 20000);
        } while (status == NH_OK);
        CHECK_STATUS(status, NH_ERR_CLOSED);
        nh_stream_abort(kept);
    }
}

int main(void)
{
    struct sigaction action, before, after;
    sigset_t mask_before, mask_after;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK(sigaction(SIGTERM, &action, NULL) == 0);
    CHECK(sigaction(SIGPIPE, NULL, &before) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask_before) == 0);

    server = quiet_server();
    CHECK_OK(nh_server_route(server, "GET", "/keep", 0, keep, NULL, NULL));
    CHECK_OK(nh_server_start(server));
    no_sigpipe();

    /* The library has changed nothing that belongs to the process. */
    CHECK(sigaction(SIGPIPE, NULL, &after) == 0);
    CHECK(before.sa_handler == SIG_DFL && after.sa_handler == SIG_DFL);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask_after) == 0);
    CHECK(memcmp(&mask_before, &mask_after, sizeof mask_before) == 0);

    raise(SIGTERM);
    CHECK_OK(nh_server_wait(server, 20000));
    raise(SIGTERM); /* once more, on a server that has ended */
    nh_server_free(server);
    return 0;
}
