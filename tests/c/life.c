/* The life of a server: new, start, stop, drained, free; all else is NH_ERR_STATE. And calls that
 * would wait for themselves, made inside a callback. */
#include "check.h"

static nh_status fine(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    return nh_response_send(response, 200, "text/plain", "fine", 4);
}

static nh_status inside(nh_request *request, nh_response *response, void *user_data)
{
    nh_server *server = user_data;

    (void)request;
    CHECK_STATUS(nh_server_wait(server, -1), NH_ERR_STATE);
    CHECK_STATUS(nh_server_wait(server, 0), NH_ERR_STATE);
    CHECK_STATUS(nh_server_run(server), NH_ERR_STATE);
    CHECK_STATUS(nh_server_start(server), NH_ERR_STATE);
    return nh_response_send(response, 200, "text/plain", "refused", NH_ZERO_TERMINATED);
}

static nh_status free_inside(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    nh_server_free(user_data); /* only begins the stop */
    return nh_response_send(response, 200, "text/plain", "stopping", NH_ZERO_TERMINATED);
}

static int32_t pass(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)response;
    (void)user_data;
    return NH_NEXT;
}

static void order(void)
{
    nh_server *server = quiet_server();
    char *stats;
    size_t len;

    CHECK(nh_server_port(server) == 0);
    CHECK_STATUS(nh_server_wait(server, 0), NH_ERR_STATE); /* not started */
    CHECK_OK(nh_server_start(server));
    CHECK(nh_server_port(server) != 0);
    CHECK_STATUS(nh_server_start(server), NH_ERR_STATE);
    CHECK_STATUS(nh_server_run(server), NH_ERR_STATE);
    CHECK_STATUS(nh_server_wait(server, 0), NH_ERR_TIMEOUT);
    CHECK_STATUS(nh_server_wait(server, 10), NH_ERR_TIMEOUT);
    CHECK(status_of(get(server, "/health")) == 200);
    CHECK_OK(nh_server_stats_json(server, &stats, &len));
    CHECK(strlen(stats) == len && stats[0] == '{');
    nh_free(stats);
    CHECK_OK(nh_server_connections_json(server, &stats, NULL));
    CHECK(strstr(stats, "\"is_complete\":true") != NULL);
    nh_free(stats);
    nh_server_stop(server);
    nh_server_stop(server);
    CHECK_OK(nh_server_wait(server, -1));
    CHECK_OK(nh_server_wait(server, 0));
    CHECK_STATUS(nh_server_start(server), NH_ERR_STATE);
    CHECK_STATUS(nh_server_run(server), NH_ERR_STATE);
    nh_server_free(server);
}

static void never_started(void)
{
    nh_server *server = quiet_server();
    atomic_int drops = 0;

    CHECK_OK(nh_server_route(server, "GET", "/", 0, fine, &drops, count_up));
    CHECK_OK(nh_server_before(server, pass, &drops, count_up));
    CHECK_OK(nh_server_after(server, pass, &drops, count_up));
    nh_server_free(server);
    CHECK(atomic_load(&drops) == 3);

    server = quiet_server();
    nh_server_stop(server);
    CHECK_STATUS(nh_server_start(server), NH_ERR_STATE); /* after stop there is no start */
    nh_server_free(server);
}

static void taken_port(void)
{
    nh_server_options options = quiet_options();
    nh_server *first = quiet_server(), *second;
    atomic_int drops = 0;
    char listen[64];

    CHECK_OK(nh_server_start(first));
    snprintf(listen, sizeof listen, "127.0.0.1:%u", (unsigned)nh_server_port(first));
    options.listen = listen;
    CHECK_OK(nh_server_new(&options, &second));
    CHECK_OK(nh_server_route(second, "GET", "/", 0, fine, &drops, count_up));
    CHECK_STATUS(nh_server_start(second), NH_ERR_ADDRESS_IN_USE);
    CHECK(strstr(nh_last_error_message(), listen) != NULL);
    nh_server_free(second);
    CHECK(atomic_load(&drops) == 1);
    CHECK(status_of(get(first, "/health")) == 200);
    nh_server_free(first);
}

static void inside_callbacks(void)
{
    nh_server *server = quiet_server();

    CHECK_OK(nh_server_route(server, "GET", "/inside", 0, inside, server, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/free", 0, free_inside, server, NULL));
    CHECK_OK(nh_server_start(server));
    CHECK_TEXT(body_of(get(server, "/inside")), "refused");
    CHECK_TEXT(body_of(get(server, "/free")), "stopping");
    CHECK_OK(nh_server_wait(server, -1));
    nh_server_free(server);
}

/* A connection that is only open must not hold up the end. */
static void free_while_running(void)
{
    nh_server *server = quiet_server();
    atomic_int drops = 0;
    int idle;

    CHECK_OK(nh_server_route(server, "GET", "/", 0, fine, &drops, count_up));
    CHECK_OK(nh_server_start(server));
    idle = dial(server);
    say(idle, "GET / HTTP/1.1\r\nHost: ");
    CHECK_TEXT(body_of(get(server, "/")), "fine");
    nh_server_free(server);
    CHECK(atomic_load(&drops) == 1);
    hear(idle);
}

static int run(void *server)
{
    return nh_server_run(server);
}

static void runs_until_stopped(void)
{
    nh_server *server = quiet_server();
    thrd_t thread;
    int result, turn;

    CHECK(thrd_create(&thread, run, server) == thrd_success);
    for (turn = 0; turn < 20000 && nh_server_port(server) == 0; turn++)
        poll(NULL, 0, 1);
    CHECK(status_of(get(server, "/health")) == 200);
    nh_server_stop(server);
    thrd_join(thread, &result);
    CHECK_STATUS(result, NH_OK);
    nh_server_free(server);
}

int main(void)
{
    order();
    never_started();
    taken_port();
    inside_callbacks();
    free_while_running();
    runs_until_stopped();
    return 0;
}
