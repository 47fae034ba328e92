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
    CHECK_TEXT(body_of(get(server, "/c")), "call 1");

    CHECK_TEXT(body_of(get(server, "/c?control=no-store")), "call 4");
    CHECK_TEXT(body_of(get(server, "/c?control=no-store")), "call 5");
    CHECK_TEXT(body_of(get(server, "/c?control=max-age%3D60")), "call 6");
    CHECK_TEXT(body_of(get(server, "/c?control=max-age%3D60")), "call 6");

    CHECK_TEXT(body_of(get_with(server, "/c?vary=X-A,x-b", "X-A: 1\r\n")), "call 7");
    CHECK_TEXT(body_of(get_with(server, "/c?vary=X-A,x-b", "X-A: 2\r\n")), "call 8");
    CHECK_TEXT(body_of(get_with(server, "/c?vary=X-A,x-b", "x-a: 1\r\n")), "call 7");
    CHECK_TEXT(body_of(get(server, "/c?vary=*")), "call 9");
    CHECK_TEXT(body_of(get(server, "/c?vary=*")), "call 10");

    CHECK_OK(nh_cache_clear(server));
    CHECK_TEXT(body_of(get(server, "/c")), "call 11");
}

/* Says what its query tells it to: any header field by its name, and `status`. */
static nh_status say_fields(nh_request *request, nh_response *response, void *user_data)
{
    static const char *const names[] = {"Cache-Control", "Expires", "Age", "Set-Cookie", "ETag",
                                        "Last-Modified", "Content-Location", "Vary"};
    const char *status = nh_request_query(request, "status", NULL);
    char text[64];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = nh_request_query(request, names[i], NULL);
        if (value != NULL)
            CHECK_OK(nh_response_header(response, names[i], value));
    }
    snprintf(text, sizeof text, "call %d", atomic_fetch_add((atomic_int *)user_data, 1));
    return nh_response_send(response, status != NULL ? atoi(status) : 200, "text/plain", text,
                            NH_ZERO_TERMINATED);
}

/* Whether the second of two equal requests is answered by the handler again. */
static int is_kept(const nh_server *server, atomic_int *calls, const char *target, const char *fields)
{
    int before = atomic_load(calls);

    get_with(server, target, fields);
    get_with(server, target, fields);
    return atomic_load(calls) == before + 1;
}

/* What an answer says of itself decides (RFC 9111 section 3). */
static void fields(const nh_server *server, atomic_int *calls)
{
    static const struct {
        const char *target, *asked;
        int kept;
    } cases[] = {
        {"/f?n=1", "", 1},
        {"/f?n=2&Cache-Control=private", "", 0},
        {"/f?n=3&Cache-Control=no-store", "", 0},
        {"/f?n=4&Cache-Control=no-cache", "", 0},
        {"/f?n=5&Cache-Control=max-age=60", "", 1},
        {"/f?n=6&Cache-Control=max-age=0", "", 0},
        {"/f?n=7&Cache-Control=max-age=60,%20s-maxage=0", "", 0},
        {"/f?n=8&Cache-Control=max-age=0,%20s-maxage=60", "", 1},
        {"/f?n=9&Cache-Control=max-age=60&Age=60", "", 0},
        {"/f?n=10&Cache-Control=max-age=60&Age=9", "", 1},
        {"/f?n=11&Expires=Thu,%2001%20Jan%201970%2000:00:00%20GMT", "", 0},
        {"/f?n=12&Expires=Fri,%2001%20Jan%202100%2000:00:00%20GMT", "", 1},
        {"/f?n=13&Expires=Fri,%2001%20Jan%202100%2000:00:00%20GMT&Cache-Control=max-age=0", "", 0},
        {"/f?n=14&Set-Cookie=a=b", "", 0},
        {"/f?n=15&Vary=*", "", 0},
        {"/f?n=16&status=404", "", 1},
        {"/f?n=17&status=500", "", 0},
        {"/f?n=18&status=206", "", 0},
        {"/f?n=19", "Authorization: Bearer x\r\n", 0},
        {"/f?n=20&Cache-Control=max-age=60", "Authorization: Bearer x\r\n", 0},
        {"/f?n=21&Cache-Control=public", "Authorization: Bearer x\r\n", 1},
        {"/f?n=22&Cache-Control=s-maxage=60", "Authorization: Bearer x\r\n", 1},
        {"/f?n=23&Cache-Control=must-revalidate,%20max-age=60", "Authorization: Bearer x\r\n", 1},
        {"/f?n=24", "Cache-Control: no-store\r\n", 0},
        {"/f?n=25", "Cache-Control: max-age=0\r\n", 0},
        {"/f?n=26", "Cache-Control: max-age=60\r\n", 1},
        {"/f?n=27", "Range: bytes=0-1\r\n", 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (is_kept(server, calls, cases[i].target, cases[i].asked) != cases[i].kept) {
            fprintf(stderr, "%s with %s\n", cases[i].target, cases[i].asked);
            CHECK(0);
        }
    CHECK(status_of(get_with(server, "/f?n=28", "Cache-Control: only-if-cached\r\n")) == 504);
    CHECK(status_of(get_with(server, "/f?n=1", "Cache-Control: only-if-cached\r\n")) == 200);
}

/* Conditional requests are answered from what is kept (RFC 9111 section 4.3.2). */
static void conditions(nh_server *server, atomic_int *calls)
{
    static const char target[] = "/f?ETag=W/%22a%22&Content-Location=/there"
                                 "&Last-Modified=Sun,%2006%20Nov%201994%2008:49:37%20GMT";
    static const struct {
        const char *asked;
        int status;
    } cases[] = {
        {"If-None-Match: \"b\", \"a\"\r\n", 304},
        {"If-None-Match: *\r\n", 304},
        {"If-None-Match: \"b\"\r\n", 200},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 304},
        {"If-Modified-Since: Mon, 07 Nov 1994 08:49:37 GMT\r\n", 304},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 200},
        {"If-Modified-Since: soon\r\n", 200},
        /* The tag goes before the date. */
        {"If-None-Match: \"b\"\r\nIf-Modified-Since: Mon, 07 Nov 1994 08:49:37 GMT\r\n", 200},
    };
    const char *answer;
    int before;

    get(server, target);
    before = atomic_load(calls);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        answer = get_with(server, target, cases[i].asked);
        CHECK(status_of(answer) == cases[i].status);
        CHECK(strstr(answer, "x-neurohttp-cache: hit") && strstr(answer, "Age: "));
        CHECK((strstr(answer, "Content-Type") == NULL) == (cases[i].status == 304));
        CHECK(strstr(answer, "Content-Location: /there") != NULL);
        CHECK((strlen(body_of(answer)) == 0) == (cases[i].status == 304));
    }
    answer = ask(server, "HEAD", target, "");
    CHECK(status_of(answer) == 200 && strlen(body_of(answer)) == 0);
    CHECK(strstr(answer, "Content-Length: ") && strstr(answer, "x-neurohttp-cache: hit"));
    CHECK(atomic_load(calls) == before);
    /* Only the handler knows whether its state is the one that is meant. */
    get_with(server, target, "If-Match: \"b\"\r\n");
    get_with(server, target, "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    CHECK(atomic_load(calls) == before + 2);
    /* Of what is no success nothing is the same. */
    get(server, "/f?status=404&ETag=%22a%22");
    CHECK(status_of(get_with(server, "/f?status=404&ETag=%22a%22", "If-None-Match: *\r\n")) == 404);
}

/* Who changes a target with success removes what is kept of it (RFC 9111 section 4.4). */
static void changes(nh_server *server, atomic_int *calls)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "PATCH"};
    int before;

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        CHECK(is_kept(server, calls, "/f?k", "") || i > 0);
        ask(server, methods[i], "/f?k", "x");
        CHECK(is_kept(server, calls, "/f?k", ""));
        /* Of each of its variants. */
        get_with(server, "/f?Vary=x-a", "X-A: 1\r\n");
        ask(server, methods[i], "/f?Vary=x-a", "x");
        CHECK(is_kept(server, calls, "/f?Vary=x-a", "X-A: 1\r\n"));
    }
    /* A route that keeps nothing itself changes the same target. */
    before = atomic_load(calls);
    get(server, "/g");
    get(server, "/g");
    CHECK(atomic_load(calls) == before + 1);
    CHECK(status_of(ask(server, "POST", "/g", "")) == 200);
    get(server, "/g");
    CHECK(atomic_load(calls) == before + 3);
    /* Who only asks, fails, or means another target changes nothing. */
    ask(server, "OPTIONS", "/f?k", "");
    ask(server, "POST", "/f?k&status=500", "");
    before = atomic_load(calls);
    get(server, "/f?k");
    CHECK(atomic_load(calls) == before);
    CHECK(is_kept(server, calls, "/f?status=404&e", ""));
    ask(server, "POST", "/f?status=404&e", "");
    before = atomic_load(calls);
    get(server, "/f?status=404&e");
    CHECK(atomic_load(calls) == before);
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
    atomic_int calls = 0, blocking_calls = 0, stream_count = 0, field_calls = 0;

    CHECK_OK(nh_server_route(server, "*", "/c", NH_ROUTE_CACHE, count_calls, &calls, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/b", NH_ROUTE_CACHE | NH_ROUTE_BLOCKING, count_calls,
                             &blocking_calls, NULL));
    CHECK_OK(nh_server_route(server, "*", "/s", NH_ROUTE_CACHE, stream_calls, &stream_count, NULL));
    CHECK_OK(nh_server_route(server, "*", "/f", NH_ROUTE_CACHE, say_fields, &field_calls, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/g", NH_ROUTE_CACHE, say_fields, &field_calls, NULL));
    CHECK_OK(nh_server_route(server, "POST", "/g", 0, say_fields, &field_calls, NULL));
    entries(server);
    CHECK_OK(nh_server_start(server));
    routes(server);
    streams(server);
    fields(server, &field_calls);
    conditions(server, &field_calls);
    changes(server, &field_calls);
    CHECK_TEXT(body_of(get(server, "/b")), "call 0");
    CHECK_TEXT(body_of(get(server, "/b")), "call 0");
    nh_server_free(server);
    return 0;
}
