/* What a handler reads: texts with their lengths, all NUL-terminated, in the documented forms. */
#include "check.h"

#define CHECK_LENT(call, wanted)                                                                   \
    do {                                                                                           \
        size_t len = 0;                                                                            \
        const char *lent = (call);                                                                 \
        CHECK_TEXT(lent, wanted);                                                                  \
        CHECK(len == strlen(wanted));                                                              \
    } while (0)

static nh_status look(nh_request *request, nh_response *response, void *user_data)
{
    const char *name, *value;
    const unsigned char *body;
    size_t body_len, index, fields = nh_request_header_count(request);

    (void)user_data;
    CHECK_LENT(nh_request_method(request, &len), "PROPFIND");
    CHECK_LENT(nh_request_path(request, &len), "/look/a b/\xc3\xa9");
    CHECK_LENT(nh_request_target(request, &len),
               "/look/./a%20b/x/../%C3%A9?q=1+2%2B&q=3&empty&broken=%zz&=nameless");
    CHECK_LENT(nh_request_query(request, "q", &len), "1 2+");
    CHECK_LENT(nh_request_query(request, "empty", &len), "");
    CHECK_LENT(nh_request_query(request, "broken", &len), "%zz");
    CHECK(nh_request_query(request, "absent", NULL) == NULL);
    CHECK(nh_request_query(request, "Q", NULL) == NULL);
    CHECK_LENT(nh_request_param(request, "id", &len), "a b");
    CHECK_LENT(nh_request_param(request, "rest", &len), "\xc3\xa9");
    CHECK(nh_request_param(request, "absent", NULL) == NULL);

    CHECK_LENT(nh_request_header(request, "x-one", &len), "first, second");
    CHECK_LENT(nh_request_header(request, "X-ONE", &len), "first, second");
    CHECK_LENT(nh_request_header(request, "Cookie", &len), "a=1; b=2");
    CHECK_LENT(nh_request_header(request, "x-empty", &len), "");
    CHECK(nh_request_header(request, "absent", NULL) == NULL);
    CHECK(fields == 7); /* as received: repeated ones count each */
    for (index = 0; index < fields; index++)
        CHECK_OK(nh_request_header_at(request, index, &name, &value));
    CHECK_TEXT(name, "X-Empty");
    CHECK_TEXT(value, "");
    CHECK_STATUS(nh_request_header_at(request, fields, &name, &value), NH_ERR_NOT_FOUND);
    CHECK_STATUS(nh_request_header_at(request, SIZE_MAX, &name, &value), NH_ERR_NOT_FOUND);
    CHECK_TEXT(name, "X-Empty");

    body = nh_request_body(request, &body_len);
    CHECK(body_len == 4 && memcmp(body, "a\0bc", 4) == 0);
    CHECK(strncmp(nh_request_peer(request, NULL), "127.0.0.1:", 10) == 0);
    CHECK(strlen(nh_request_id(request, NULL)) >= 8);
    return nh_response_send(response, 200, NULL, "seen", 4);
}

static nh_status id(nh_request *request, nh_response *response, void *user_data)
{
    size_t body_len = 4711;

    (void)user_data;
    nh_request_body(request, &body_len);
    CHECK(body_len == 0);
    return nh_response_send(response, 200, NULL, nh_request_id(request, NULL), NH_ZERO_TERMINATED);
}

int main(void)
{
    static const char bytes[] =
        "PROPFIND /look/./a%20b/x/../%C3%A9?q=1+2%2B&q=3&empty&broken=%zz&=nameless HTTP/1.1\r\n"
        "Host: h\r\nX-One: first\r\nCookie: a=1\r\nx-one:second\r\ncookie: b=2\r\n"
        "Content-Length: 4\r\nX-Empty:\r\n\r\na\0bc"
        "GET /id HTTP/1.1\r\nHost: h\r\nX-Request-Id: sane-id.42\r\nConnection: close\r\n\r\n";
    nh_server *server = quiet_server();
    char *answer;
    int fd;

    CHECK_OK(nh_server_route(server, "PROPFIND", "/look/:id/*rest", 0, look, NULL, NULL));
    CHECK_OK(nh_server_route(server, "GET", "/id", 0, id, NULL, NULL));
    CHECK_OK(nh_server_start(server));

    fd = dial(server);
    CHECK(send(fd, bytes, sizeof bytes - 1, MSG_NOSIGNAL) == sizeof bytes - 1);
    answer = hear(fd);
    CHECK(status_of(answer) == 200);
    answer = strstr(answer, "seenHTTP/1.1 200");
    CHECK(answer != NULL);
    CHECK_TEXT(body_of(answer), "sane-id.42"); /* a sane id is taken over */
    nh_server_free(server);
    return 0;
}
