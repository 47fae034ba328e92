/* NULL for every pointer of every function: an error or nothing, never a crash, and outputs stay
 * as they were. */
#include "check.h"

static nh_status handler(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)response;
    (void)user_data;
    return NH_OK;
}

static int32_t middleware(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)response;
    (void)user_data;
    return NH_NEXT;
}

static void ready(nh_stream *stream, nh_status status, void *user_data)
{
    (void)stream;
    (void)status;
    (void)user_data;
}

static void nothing_to_free(void)
{
    nh_free(NULL);
    nh_server_free(NULL);
    nh_deferred_free(NULL);
    nh_stream_end(NULL);
    nh_stream_abort(NULL);
    nh_server_stop(NULL);
    nh_server_options_init(NULL, sizeof(nh_server_options));
}

static void servers(void)
{
    nh_server *server = quiet_server();
    atomic_int drops = 0;
    char *text = (char *)&drops;
    size_t len = 4711;

    CHECK_STATUS(nh_server_new(NULL, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_start(NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_run(NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_wait(NULL, 0), NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_server_port(NULL) == 0);
    CHECK_STATUS(nh_server_stats_json(NULL, &text, &len), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_stats_json(server, NULL, &len), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_connections_json(NULL, &text, &len), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_connections_json(server, NULL, &len), NH_ERR_INVALID_ARGUMENT);
    CHECK(text == (char *)&drops && len == 4711);

    CHECK_STATUS(nh_server_route(NULL, "GET", "/", 0, handler, &drops, count_up),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_route(server, NULL, "/", 0, handler, &drops, count_up),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_route(server, "GET", NULL, 0, handler, &drops, count_up),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_route(server, "GET", "/", 0, NULL, &drops, count_up),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_before(NULL, middleware, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_before(server, NULL, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_after(NULL, middleware, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_after(server, NULL, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK(atomic_load(&drops) == 8); /* a registration that fails still drops */

    CHECK_STATUS(nh_server_unroute(NULL, "GET", "/"), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_unroute(server, NULL, "/"), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_unroute(server, "GET", NULL), NH_ERR_INVALID_ARGUMENT);
    nh_server_free(server);
}

static void requests(void)
{
    const char *name = "as before", *value = "as before";
    size_t len = 4711;

    CHECK(nh_request_method(NULL, &len) == NULL);
    CHECK(nh_request_path(NULL, &len) == NULL);
    CHECK(nh_request_target(NULL, &len) == NULL);
    CHECK(nh_request_query(NULL, "q", &len) == NULL);
    CHECK(nh_request_param(NULL, "p", &len) == NULL);
    CHECK(nh_request_header(NULL, "h", &len) == NULL);
    CHECK(nh_request_header_count(NULL) == 0);
    CHECK_STATUS(nh_request_header_at(NULL, 0, &name, &value), NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_request_body(NULL, &len) == NULL);
    CHECK(nh_request_peer(NULL, &len) == NULL);
    CHECK(nh_request_id(NULL, &len) == NULL);
    CHECK_TEXT(name, "as before");
    CHECK_TEXT(value, "as before");
    CHECK(nh_request_method(NULL, NULL) == NULL && nh_request_body(NULL, NULL) == NULL);
}

static void responses(void)
{
    nh_deferred *deferred = (nh_deferred *)&deferred;
    nh_stream *stream = (nh_stream *)&stream;
    atomic_int drops = 0;

    CHECK_STATUS(nh_response_status(NULL, 200), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_header(NULL, "a", "b"), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_add_header(NULL, "a", "b"), NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_response_get_header(NULL, "a", NULL) == NULL);
    CHECK(nh_response_get_body(NULL, NULL) == NULL);
    CHECK(nh_response_get_status(NULL) <= 0);
    CHECK_STATUS(nh_response_body(NULL, "x", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_send(NULL, 200, "text/plain", "x", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_defer(NULL, &deferred), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_stream(NULL, &stream), NH_ERR_INVALID_ARGUMENT);
    CHECK(deferred == (nh_deferred *)&deferred && stream == (nh_stream *)&stream);

    CHECK_STATUS(nh_deferred_send(NULL, 200, "text/plain", "x", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_deferred_response(NULL) == NULL);
    CHECK_STATUS(nh_deferred_done(NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_deferred_cancelled(NULL) != 0); /* there is nobody to answer */

    CHECK_STATUS(nh_stream_write(NULL, "x", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_stream_event(NULL, "e", "x", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_stream_wait(NULL, 0), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_stream_on_ready(NULL, ready, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK(atomic_load(&drops) == 1);
}

static void kernels(void)
{
    CHECK(nh_crc32(NULL, 0) == 0);
    CHECK(nh_crc32(NULL, 8) == 0);
    CHECK(nh_crc32_update(7, NULL, 8) == 7);
}

static nh_server *in_this_server;

static void plugins(nh_server *server)
{
    CHECK(NH_PLUGIN_ABI == 1 && NH_PLUGIN_BLOCKING == 1);
    CHECK_STATUS(nh_plugin_load(NULL, "x", NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_plugin_load(server, NULL, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_plugin_load(server, "absent", NULL), NH_ERR_NOT_FOUND);
    CHECK_STATUS(nh_plugin_unload(NULL, "x"), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_plugin_unload(server, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_plugin_unload(server, "x"), NH_ERR_NOT_FOUND);
    CHECK_STATUS(nh_plugin_set_enabled(NULL, "x", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_plugin_set_enabled(server, NULL, 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_plugin_set_enabled(server, "x", 1), NH_ERR_NOT_FOUND);
}

static nh_status inside(nh_request *request, nh_response *response, void *user_data)
{
    const char *name = "as before";
    size_t len = 4711;

    (void)user_data;
    CHECK_STATUS(nh_plugin_load(in_this_server, "x", NULL), NH_ERR_STATE); /* it would block */
    CHECK_STATUS(nh_plugin_unload(in_this_server, "x"), NH_ERR_STATE);
    CHECK(nh_request_query(request, NULL, &len) == NULL);
    CHECK(nh_request_param(request, NULL, &len) == NULL);
    CHECK(nh_request_header(request, NULL, &len) == NULL);
    CHECK_OK(nh_request_header_at(request, 0, NULL, NULL));
    CHECK_OK(nh_request_header_at(request, 0, &name, NULL));
    CHECK_TEXT(name, "Host");
    CHECK_STATUS(nh_response_header(response, NULL, "b"), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_header(response, "a", NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_add_header(response, NULL, "b"), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_add_header(response, "a", NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_response_get_header(response, NULL, &len) == NULL);
    CHECK_STATUS(nh_response_body(response, NULL, 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_send(response, 200, "text/plain", NULL, 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_defer(response, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_stream(response, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_OK(nh_response_body(response, NULL, 0)); /* no bytes need no pointer */
    return nh_response_send(response, 200, NULL, "fine", NH_ZERO_TERMINATED);
}

int main(void)
{
    nh_server *server = quiet_server();

    nothing_to_free();
    servers();
    requests();
    responses();
    kernels();
    plugins(server);
    in_this_server = server;
    CHECK_OK(nh_server_route(server, "GET", "/inside", 0, inside, NULL, NULL));
    CHECK_OK(nh_server_start(server));
    CHECK_TEXT(body_of(get(server, "/inside")), "fine");
    nh_server_free(server);
    return 0;
}
