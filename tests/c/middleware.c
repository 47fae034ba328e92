/* Middleware: order, short cuts, failures, what the after side sees of every kind of answer. */
#include "check.h"

static char trace[256];

static int32_t before(nh_request *request, nh_response *response, void *user_data)
{
    const char *stop = nh_request_query(request, "stop", NULL);
    const char *fail = nh_request_query(request, "fail", NULL);

    strcat(trace, user_data);
    if (stop != NULL && strcmp(stop, user_data) == 0) {
        nh_response_send(response, 403, "text/plain", user_data, NH_ZERO_TERMINATED);
        return NH_ANSWERED;
    }
    if (fail != NULL && strcmp(fail, user_data) == 0)
        return NH_ERR_IO;
    return NH_NEXT;
}

static int32_t after(nh_request *request, nh_response *response, void *user_data)
{
    char text[16];

    (void)request;
    strcat(trace, user_data);
    snprintf(text, sizeof text, "%d", (int)nh_response_get_status(response));
    strcat(trace, text);
    return NH_NEXT;
}

static nh_status handler(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    strcat(trace, "h");
    return nh_response_send(response, 200, "text/plain", "handled", 7);
}

static nh_status deferred(nh_request *request, nh_response *response, void *user_data)
{
    nh_deferred *answer;

    (void)request;
    (void)user_data;
    strcat(trace, "d");
    CHECK_OK(nh_response_defer(response, &answer));
    return nh_deferred_send(answer, 202, NULL, "deferred", 8);
}

static nh_status streamed(nh_request *request, nh_response *response, void *user_data)
{
    nh_stream *stream;

    (void)request;
    (void)user_data;
    strcat(trace, "s");
    CHECK_OK(nh_response_stream(response, &stream));
    CHECK_OK(nh_stream_write(stream, "streamed", 8));
    nh_stream_end(stream);
    return NH_OK;
}

static nh_status failing(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)response;
    (void)user_data;
    return NH_ERR_UPSTREAM;
}

static void expect(nh_server *server, const char *target, int status, const char *wanted)
{
    trace[0] = '\0';
    CHECK(status_of(get(server, target)) == status);
    CHECK_TEXT(trace, wanted);
}

int main(void)
{
    nh_server *server = quiet_server();
    atomic_int drops = 0;

    CHECK_OK(nh_server_before(server, before, "a", NULL));
    CHECK_OK(nh_server_before(server, before, "b", NULL));
    CHECK_OK(nh_server_after(server, after, "x", NULL));
    CHECK_OK(nh_server_after(server, after, "y", NULL));
    CHECK_OK(nh_server_route(server, "GET", "/h", 0, handler, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/p", NH_ROUTE_BLOCKING, handler, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/d", 0, deferred, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/s", 0, streamed, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/f", 0, failing, NULL, NULL));
    CHECK_OK(nh_server_start(server));

    expect(server, "/h", 200, "abhy200x200");
    expect(server, "/p", 200, "abhy200x200");
    expect(server, "/d", 202, "abdy202x202");
    expect(server, "/s", 200, "absy200x200");
    expect(server, "/f", 500, "aby500x500");
    expect(server, "/none", 404, "aby404x404");
    expect(server, "/health", 200, "aby200x200");
    expect(server, "/h?stop=a", 403, "ay403x403");
    expect(server, "/h?stop=b", 403, "aby403x403");
    expect(server, "/h?fail=a", 500, "ay500x500");

    /* At run time, while connections are served. */
    CHECK_OK(nh_server_before(server, before, "c", NULL));
    expect(server, "/h", 200, "abchy200x200");
    CHECK_STATUS(nh_server_after(server, NULL, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK(atomic_load(&drops) == 1);
    nh_server_free(server);
    return 0;
}
