/* A server inside the host's own poll(2): its thread does the work, its descriptor tells when. */
#include "check.h"

static nh_server *server;

static nh_status here(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    CHECK(thrd_equal(thrd_current(), *(thrd_t *)user_data));
    CHECK_STATUS(nh_server_poll(server, 0, NULL), NH_ERR_STATE); /* a turn within a turn */
    CHECK_STATUS(nh_server_wait(server, 0), NH_ERR_STATE);
    return nh_response_send(response, 200, "text/plain", "here", NH_ZERO_TERMINATED);
}

static atomic_int answered;

static int visitor(void *unused)
{
    (void)unused;
    CHECK_TEXT(body_of(get(server, "/here")), "here");
    atomic_store(&answered, 1);
    return 0;
}

int main(void)
{
    struct pollfd watched = {.events = POLLIN};
    thrd_t own = thrd_current(), thread;
    nh_status status = NH_OK;
    uint32_t handled = 99;

    server = quiet_server();
    CHECK_OK(nh_server_route(server, "GET", "/here", 0, here, &own, NULL));
    CHECK_STATUS(nh_server_poll(server, 0, &handled), NH_ERR_STATE); /* not attached */
    CHECK_STATUS(nh_server_attach(server, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_OK(nh_server_attach(server, &watched.fd));
    CHECK_STATUS(nh_server_start(server), NH_ERR_STATE);
    CHECK_OK(nh_server_poll(server, 0, &handled));
    CHECK(handled == 0);

    CHECK(thrd_create(&thread, visitor, NULL) == thrd_success);
    while (!atomic_load(&answered)) {
        poll(&watched, 1, 50);
        CHECK_OK(nh_server_poll(server, 0, NULL));
    }
    thrd_join(thread, NULL);

    nh_server_stop(server);
    CHECK(poll(&watched, 1, 20000) == 1);
    while (status == NH_OK)
        status = nh_server_poll(server, 50, &handled);
    CHECK_STATUS(status, NH_ERR_CLOSED);
    CHECK_OK(nh_server_wait(server, 0));
    nh_server_free(server);
    return 0;
}
