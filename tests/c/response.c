/* What a handler may answer, and what is refused. */
#include "check.h"

static nh_status statuses(nh_request *request, nh_response *response, void *user_data)
{
    static const int32_t wrong[] = {-1, 0, 100, 101, 199, 600, 999, INT32_MAX, INT32_MIN};
    size_t i;

    (void)request;
    (void)user_data;
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_STATUS(nh_response_status(response, wrong[i]), NH_ERR_INVALID_ARGUMENT);
        CHECK_STATUS(nh_response_send(response, wrong[i], NULL, "", 0), NH_ERR_INVALID_ARGUMENT);
    }
    CHECK_OK(nh_response_status(response, 200));
    CHECK_OK(nh_response_status(response, 599));
    CHECK_OK(nh_response_status(response, 201));
    CHECK(nh_response_get_status(response) == 201);
    CHECK_OK(nh_response_body(response, "first", 5));
    CHECK_OK(nh_response_body(response, "created", NH_ZERO_TERMINATED));
    return NH_OK;
}

static nh_status headers(nh_request *request, nh_response *response, void *user_data)
{
    static const char *const ours[] = {"Content-Length", "transfer-encoding", "Keep-Alive",
                                       "Upgrade",        "date",              NULL};
    static const char *const wrong[] = {"", "a b", "a:", "a\r\nb", "\xc3\xa9", NULL};
    size_t i, len;

    (void)request;
    (void)user_data;
    for (i = 0; ours[i] != NULL; i++) {
        CHECK_STATUS(nh_response_header(response, ours[i], "1"), NH_ERR_INVALID_ARGUMENT);
        CHECK_STATUS(nh_response_add_header(response, ours[i], "1"), NH_ERR_INVALID_ARGUMENT);
    }
    for (i = 0; wrong[i] != NULL; i++)
        CHECK_STATUS(nh_response_header(response, wrong[i], "1"), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_header(response, "a", "1\r\nSet-Cookie: x=1"),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_header(response, "a", "1\n"), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_response_add_header(response, "a", "1\r"), NH_ERR_INVALID_ARGUMENT);
    CHECK_OK(nh_response_header(response, "X-Set", "one"));
    CHECK_OK(nh_response_header(response, "x-set", "two"));
    CHECK_TEXT(nh_response_get_header(response, "X-SET", &len), "two");
    CHECK(len == 3);
    CHECK(nh_response_get_header(response, "absent", NULL) == NULL);
    CHECK_OK(nh_response_add_header(response, "Set-Cookie", "a=1"));
    CHECK_OK(nh_response_add_header(response, "Set-Cookie", "b=2"));
    return nh_response_send(response, 200, "text/plain; charset=utf-8", "headers", 7);
}

static nh_status fails(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    nh_response_send(response, 200, NULL, "half done", 9);
    return NH_ERR_IO;
}

static nh_status odd(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)response;
    (void)user_data;
    return 12345; /* not a status we know */
}

static nh_status nothing(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)response;
    (void)user_data;
    return NH_OK;
}

static nh_status no_content(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    return nh_response_send(response, 204, "text/plain", "dropped", 7);
}

static nh_status closes(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    CHECK_OK(nh_response_header(response, "Connection", "close"));
    return nh_response_send(response, 200, NULL, "bye", 3);
}

static nh_status blocks(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    poll(NULL, 0, 30); /* on the pool this holds nobody up */
    return nh_response_send(response, 200, NULL, "blocked", 7);
}

static nh_status large(nh_request *request, nh_response *response, void *user_data)
{
    static char bytes[900000];

    (void)request;
    (void)user_data;
    memset(bytes, 'l', sizeof bytes);
    return nh_response_send(response, 200, NULL, bytes, sizeof bytes);
}

int main(void)
{
    nh_server *server = quiet_server();
    char *answer;
    int fd;

    CHECK_OK(nh_server_route(server, "GET", "/statuses", 0, statuses, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/headers", 0, headers, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/fails", 0, fails, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/odd", NH_ROUTE_BLOCKING, odd, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/nothing", 0, nothing, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/no-content", 0, no_content, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/closes", 0, closes, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/blocks", NH_ROUTE_BLOCKING, blocks, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/large", 0, large, NULL, NULL));
    CHECK_OK(nh_server_start(server));

    answer = get(server, "/statuses");
    CHECK(status_of(answer) == 201);
    CHECK_TEXT(body_of(answer), "created");
    answer = get(server, "/headers");
    CHECK_TEXT(body_of(answer), "headers");
    CHECK(strstr(answer, "two\r\n") && !strstr(answer, "one\r\n"));
    CHECK(strstr(answer, "a=1\r\n") && strstr(answer, "b=2\r\n") && !strstr(answer, "x=1"));
    CHECK(strstr(answer, "text/plain; charset=utf-8\r\n"));

    answer = get(server, "/fails");
    CHECK(status_of(answer) == 500 && strstr(answer, "half done") == NULL);
    CHECK(strstr(body_of(answer), "\"error\"") != NULL);
    CHECK(strstr(answer, "NH_ERR_IO") == NULL); /* the reason is for the log only */
    CHECK(status_of(get(server, "/odd")) == 500);
    CHECK(status_of(get(server, "/nothing")) == 204);
    answer = get(server, "/no-content");
    CHECK(status_of(answer) == 204);
    CHECK_TEXT(body_of(answer), "");
    CHECK_TEXT(body_of(get(server, "/blocks")), "blocked");
    CHECK(strlen(body_of(get(server, "/large"))) == 900000);

    /* The handler's wish to close wins over the client's wish to keep. */
    fd = dial(server);
    say(fd, "GET /closes HTTP/1.1\r\nHost: h\r\n\r\nGET /closes HTTP/1.1\r\nHost: h\r\n\r\n");
    answer = hear(fd);
    CHECK_TEXT(body_of(answer), "bye");
    nh_server_free(server);
    return 0;
}
