/* The cache as a host uses it: entries of its own, and routes whose answers are kept. */
#include "check.h"

static nh_status count_calls(nh_request *request, nh_response *response, void *user_data)
{
    const char *control = nh_request_query(request, "control", NULL);
    const char *vary = nh_request_query(request, "vary", NULL);
    char text[64];

    if (control != NULL)
        CHECK_OK(nh_response_header(response, "Cache-Control", control));
    if (vary != NULL)
        CHECK_OK(nh_response_header(response, "Vary", vary));
    CHECK_OK(nh_response_header(response, "ETag", "\"one\""));
    snprintf(text, sizeof text, "call %d", atomic_fetch_add((atomic_int *)user_data, 1));
    return nh_response_send(response, 200, "text/plain", text, NH_ZERO_TERMINATED);
}

static nh_status stream_calls(nh_request *request, nh_response *response, void *user_data)
{
    const char *control = nh_request_query(request, "control", NULL);
    nh_stream *stream;
    char text[64];

    CHECK_OK(nh_response_header(response, "Content-Type", "text/plain"));
    if (control != NULL)
        CHECK_OK(nh_response_header(response, "Cache-Control", control));
    CHECK_OK(nh_response_header(response, "Vary", "X-A"));
    CHECK_OK(nh_response_stream(response, &stream));
    snprintf(text, sizeof text, "stream %d", atomic_fetch_add((atomic_int *)user_data, 1));
    CHECK_OK(nh_stream_write(stream, text, strlen(text)));
    CHECK_OK(nh_stream_write(stream, " of two pieces", 14));
    if (nh_request_query(request, "abort", NULL) != NULL)
        nh_stream_abort(stream);
    else
        nh_stream_end(stream);
    return NH_OK;
}

static char *get_with(const nh_server *server, const char *target, const char *fields)
{
    char head[512];
    int fd = dial(server);

    snprintf(head, sizeof head,
             "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", target, fields);
    say(fd, head);
    return hear(fd);
}

static void entries(nh_server *server)
{
    static char large[64 << 20];
    void *value = NULL;
    size_t len = 0;

    CHECK_STATUS(nh_cache_get(server, "k", &value, &len), NH_ERR_NOT_FOUND);
    CHECK_OK(nh_cache_put(server, "k", "a\0b", 3, 0));
    CHECK_OK(nh_cache_get(server, "k", &value, &len));
    CHECK(len == 3 && memcmp(value, "a\0b", 4) == 0);
    nh_free(value);
    CHECK_OK(nh_cache_put(server, "k", "newer", NH_ZERO_TERMINATED, 60));
    CHECK_OK(nh_cache_get(server, "k", &value, NULL));
    CHECK_TEXT(value, "newer");
    nh_free(value);
    CHECK_OK(nh_cache_put(server, "empty", NULL, 0, -1));
    CHECK_OK(nh_cache_get(server, "empty", &value, &len));
    CHECK(len == 0);
    nh_free(value);
    CHECK_OK(nh_cache_delete(server, "k"));
    CHECK_STATUS(nh_cache_delete(server, "k"), NH_ERR_NOT_FOUND);
    CHECK_OK(nh_cache_clear(server));
    CHECK_STATUS(nh_cache_get(server, "empty", &value, &len), NH_ERR_NOT_FOUND);
    CHECK_STATUS(nh_cache_put(server, "large", large, sizeof large, 0), NH_ERR_LIMIT);

    CHECK_STATUS(nh_cache_put(NULL, "k", "v", 1, 0), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_cache_put(server, NULL, "v", 1, 0), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_cache_put(server, "k", NULL, 1, 0), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_cache_get(server, "k", NULL, &len), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_cache_get(NULL, "k", &value, &len), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_cache_delete(server, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_cache_clear(NULL), NH_ERR_INVALID_ARGUMENT);
}

static void routes(nh_server *server)
{
    const char *answer;

    CHECK_TEXT(body_of(get(server, "/c")), "call 0");
    answer = get(server, "/c");
    CHECK_TEXT(body_of(answer), "call 0");
    CHECK(strstr(answer, "Age: ") != NULL);
    CHECK(status_of(ask(server, "HEAD", "/c", "")) == 200);
    CHECK_TEXT(body_of(get_with(server, "/c", "Cache-Control: no-cache\r\n")), "call 1");
    CHECK_TEXT(body_of(get(server, "/c")), "call 1");
    CHECK_TEXT(body_of(get_with(server, "/c", "Cache-Control: no-store\r\n")), "call 2");
    CHECK_TEXT(body_of(get_with(server, "/c", "Authorization: Bearer x\r\n")), "call 3");
    CHECK(status_of(get_with(server, "/c", "If-None-Match: W/\"one\"\r\n")) == 304);
    CHECK_TEXT(body_of(ask(server, "POST", "/c", "x")), "call 4");
    CHECK_TEXT(body_of(get(server, "/c")), "call 1");

    CHECK_TEXT(body_of(get(server, "/c?control=no-store")), "call 5");
    CHECK_TEXT(body_of(get(server, "/c?control=no-store")), "call 6");
    CHECK_TEXT(body_of(get(server, "/c?control=max-age%3D60")), "call 7");
    CHECK_TEXT(body_of(get(server, "/c?control=max-age%3D60")), "call 7");

    CHECK_TEXT(body_of(get_with(server, "/c?vary=X-A,x-b", "X-A: 1\r\n")), "call 8");
    CHECK_TEXT(body_of(get_with(server, "/c?vary=X-A,x-b", "X-A: 2\r\n")), "call 9");
    CHECK_TEXT(body_of(get_with(server, "/c?vary=X-A,x-b", "x-a: 1\r\n")), "call 8");
    CHECK_TEXT(body_of(get(server, "/c?vary=*")), "call 10");
    CHECK_TEXT(body_of(get(server, "/c?vary=*")), "call 11");

    CHECK_OK(nh_cache_clear(server));
    CHECK_TEXT(body_of(get(server, "/c")), "call 12");
}

/* A stream is kept when it ended well, and given again as a whole. */
static void streams(nh_server *server)
{
    char *answer;

    CHECK(strstr(get(server, "/s"), "stream 0") != NULL);
    answer = get(server, "/s");
    CHECK_TEXT(body_of(answer), "stream 0 of two pieces");
    CHECK(strstr(answer, "x-neurohttp-cache: hit") && strstr(answer, "Content-Length: 22"));
    CHECK(strstr(get_with(server, "/s", "X-A: 1\r\n"), "stream 1") != NULL);
    CHECK_TEXT(body_of(get_with(server, "/s", "X-A: 1\r\n")), "stream 1 of two pieces");
    CHECK_TEXT(body_of(get(server, "/s")), "stream 0 of two pieces");
    CHECK(strstr(get(server, "/s?control=no-store"), "stream 2") != NULL);
    CHECK(strstr(get(server, "/s?control=no-store"), "stream 3") != NULL);
    get(server, "/s?abort=1");
    get(server, "/s?abort=1");
    CHECK(strstr(get(server, "/s?control=private"), "stream 6") != NULL);
}

int main(void)
{
    nh_server *server = quiet_server();
    atomic_int calls = 0, blocking_calls = 0, stream_count = 0;

    CHECK_OK(nh_server_route(server, "*", "/c", NH_ROUTE_CACHE, count_calls, &calls, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/b", NH_ROUTE_CACHE | NH_ROUTE_BLOCKING, count_calls,
                             &blocking_calls, NULL));
    CHECK_OK(nh_server_route(server, "*", "/s", NH_ROUTE_CACHE, stream_calls, &stream_count, NULL));
    entries(server);
    CHECK_OK(nh_server_start(server));
    routes(server);
    streams(server);
    CHECK_TEXT(body_of(get(server, "/b")), "call 0");
    CHECK_TEXT(body_of(get(server, "/b")), "call 0");
    nh_server_free(server);
    return 0;
}
