/* Two servers in one process share nothing: routes, settings, logs and ends are their own. */
#include "check.h"

static void count_lines(int32_t level, const char *message, size_t len, void *user_data)
{
    (void)level;
    (void)message;
    (void)len;
    atomic_fetch_add((atomic_int *)user_data, 1);
}

static nh_status name(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    return nh_response_send(response, 200, NULL, user_data, NH_ZERO_TERMINATED);
}

static int32_t mark(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    CHECK_OK(nh_response_header(response, "X-Mark", user_data));
    return NH_NEXT;
}

int main(void)
{
    nh_server_options options = quiet_options();
    atomic_int first_lines = 0, second_lines = 0;
    nh_server *first, *second;
    char *answer;
    int lines, i;

    options.log = count_lines;
    options.log_user_data = &first_lines;
    options.config_text = "[limits]\nbody = 10\n";
    CHECK_OK(nh_server_new(&options, &first));
    options.log_user_data = &second_lines;
    options.config_text = "[limits]\nbody = 1000\n";
    CHECK_OK(nh_server_new(&options, &second));
    CHECK_OK(nh_server_route(first, "*", "/name", 0, name, "first", NULL));
    CHECK_OK(nh_server_route(second, "*", "/name", 0, name, "second", NULL));
    CHECK_OK(nh_server_route(second, "GET", "/only", 0, name, "only", NULL));
    CHECK_OK(nh_server_after(first, mark, "one", NULL));
    CHECK_OK(nh_server_start(first));
    CHECK_OK(nh_server_start(second));
    CHECK(nh_server_port(first) != nh_server_port(second));

    for (i = 0; i < 10; i++) {
        answer = get(first, "/name");
        CHECK_TEXT(body_of(answer), "first");
        CHECK(strstr(answer, ": one\r\n") != NULL);
        answer = get(second, "/name");
        CHECK_TEXT(body_of(answer), "second");
        CHECK(strstr(answer, ": one\r\n") == NULL);
    }
    CHECK(status_of(get(first, "/only")) == 404);
    CHECK(status_of(ask(first, "POST", "/name", "more than ten bytes")) == 413);
    CHECK(status_of(ask(second, "POST", "/name", "more than ten bytes")) == 200);

    lines = atomic_load(&second_lines);
    CHECK(lines > 0 && atomic_load(&first_lines) > 0);
    nh_server_free(first);
    CHECK_TEXT(body_of(get(second, "/name")), "second");
    nh_server_free(second);
    return 0;
}
