/* Registering routes: patterns, duplicates, precedence, at run time, drops exactly once. */
#include "check.h"

static nh_status name(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    return nh_response_send(response, 200, "text/plain", user_data, NH_ZERO_TERMINATED);
}

static nh_status rest(nh_request *request, nh_response *response, void *user_data)
{
    size_t len;
    const char *text = nh_request_param(request, "rest", &len);

    (void)user_data;
    CHECK(text != NULL && strlen(text) == len);
    return nh_response_send(response, 200, "text/plain", text, len);
}

static void add(nh_server *server, const char *pattern, char *text)
{
    CHECK_OK(nh_server_route(server, "GET", pattern, 0, name, text, NULL));
}

static void patterns(void)
{
    static const char *const wrong[] = {"",        "a",           "a/b",      "*rest",  "/a/*",
                                        "/a/:",    "/a/*rest/b",  "/:a/:a",   "/:a/*a", "/a b",
                                        "/a\nb",   "/a?b",        "/a#b",     NULL};
    static const char *const methods[] = {"", "CONNECT", "GET ", "G T", "GET\n", NULL};
    nh_server *server = quiet_server();
    atomic_int drops = 0;
    int i;

    for (i = 0; wrong[i] != NULL; i++) {
        CHECK_STATUS(nh_server_route(server, "GET", wrong[i], 0, name, &drops, count_up),
                     NH_ERR_INVALID_PATTERN);
        CHECK(atomic_load(&drops) == i + 1);
    }
    atomic_store(&drops, 0);
    for (i = 0; methods[i] != NULL; i++) {
        CHECK_STATUS(nh_server_route(server, methods[i], "/m", 0, name, &drops, count_up),
                     NH_ERR_INVALID_ARGUMENT);
        CHECK(atomic_load(&drops) == i + 1);
    }
    CHECK_STATUS(nh_server_route(server, "GET", "/f", 1u << 31, name, &drops, count_up),
                 NH_ERR_UNSUPPORTED);
    nh_server_free(server);
}

static void duplicates(void)
{
    static const char *const pairs[][2] = {
        {"/a", "/a"}, {"/b/:x", "/b/:y"}, {"/c/*x", "/c/*y"}, {"/d/:x/e", "/d/:z/e"}, {NULL, NULL}};
    nh_server *server = quiet_server();
    atomic_int drops = 0;
    int i;

    for (i = 0; pairs[i][0] != NULL; i++) {
        CHECK_OK(nh_server_route(server, "GET", pairs[i][0], 0, name, &drops, count_up));
        CHECK_STATUS(nh_server_route(server, "GET", pairs[i][1], 0, name, &drops, count_up),
                     NH_ERR_DUPLICATE);
        CHECK(atomic_load(&drops) == i + 1);
        CHECK_OK(nh_server_route(server, "POST", pairs[i][1], 0, name, NULL, NULL));
        CHECK_OK(nh_server_route(server, "*", pairs[i][1], 0, name, NULL, NULL));
    }
    nh_server_free(server);
    CHECK(atomic_load(&drops) == 8);
}

static void precedence(void)
{
    nh_server *server = quiet_server();

    add(server, "/*rest", "catch-all");
    add(server, "/a/*rest", "longer catch-all");
    add(server, "/a/:id", "parameter");
    add(server, "/a/b", "static");
    add(server, "/a/:id/c", "parameter inside");
    add(server, "/slash/", "with slash");
    CHECK_OK(nh_server_route(server, "GET", "/rest/*rest", 0, rest, NULL, NULL));
    CHECK_OK(nh_server_start(server));
    CHECK_TEXT(body_of(get(server, "/a/b")), "static");
    CHECK_TEXT(body_of(get(server, "/a/x")), "parameter");
    CHECK_TEXT(body_of(get(server, "/a/x/c")), "parameter inside");
    CHECK_TEXT(body_of(get(server, "/a/x/d")), "longer catch-all");
    CHECK_TEXT(body_of(get(server, "/a/b/c")), "parameter inside");
    CHECK_TEXT(body_of(get(server, "/x/y")), "catch-all");
    CHECK_TEXT(body_of(get(server, "/health")), "catch-all"); /* beats every built-in */
    CHECK_TEXT(body_of(get(server, "/slash/")), "with slash");
    CHECK_TEXT(body_of(get(server, "/slash")), "catch-all");
    CHECK_TEXT(body_of(get(server, "/rest/")), "");
    CHECK_TEXT(body_of(get(server, "/rest/b/c%20d")), "b/c d");
    nh_server_free(server);
}

static void at_run_time(void)
{
    nh_server *server = quiet_server();
    atomic_int drops = 0;
    int i;

    CHECK_OK(nh_server_start(server));
    CHECK(status_of(get(server, "/late")) == 404);
    CHECK_STATUS(nh_server_unroute(server, "GET", "/late"), NH_ERR_NOT_FOUND);
    for (i = 1; i <= 3; i++) {
        CHECK_OK(nh_server_route(server, "GET", "/late", 0, name, "late", NULL));
        CHECK_TEXT(body_of(get(server, "/late")), "late");
        CHECK(status_of(ask(server, "POST", "/late", "x")) == 405);
        CHECK_OK(nh_server_unroute(server, "GET", "/late"));
        CHECK(status_of(get(server, "/late")) == 404);
        CHECK_OK(nh_server_route(server, "GET", "/dropped", 0, rest, &drops, count_up));
        CHECK_OK(nh_server_unroute(server, "GET", "/dropped"));
    }
    nh_server_stop(server);
    CHECK_OK(nh_server_wait(server, -1));
    nh_server_free(server);
    CHECK(atomic_load(&drops) == 3);
}

static void methods(void)
{
    nh_server *server = quiet_server();
    char *answer;

    CHECK_OK(nh_server_route(server, "GET", "/m", 0, name, "get", NULL));
    CHECK_OK(nh_server_route(server, "PUT", "/m", 0, name, "put", NULL));
    CHECK_OK(nh_server_route(server, "*", "/any", 0, name, "any", NULL));
    CHECK_OK(nh_server_route(server, "PURGE", "/any", 0, name, "purge", NULL));
    CHECK_OK(nh_server_start(server));
    CHECK_TEXT(body_of(ask(server, "PUT", "/m", "x")), "put");
    answer = ask(server, "DELETE", "/m", "");
    CHECK(status_of(answer) == 405);
    CHECK(strstr(answer, "\r\nallow: ") || strstr(answer, "\r\nAllow: "));
    CHECK_TEXT(body_of(ask(server, "PURGE", "/any", "")), "purge");
    CHECK_TEXT(body_of(ask(server, "M-SEARCH", "/any", "")), "any");
    CHECK_TEXT(body_of(get(server, "/any")), "any");
    nh_server_free(server);
}

int main(void)
{
    patterns();
    duplicates();
    precedence();
    at_run_time();
    methods();
    return 0;
}
