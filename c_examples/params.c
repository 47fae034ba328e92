/* params.c: what a handler can read of a request.
 *
 *   ./params 8080
 *   curl 'http://127.0.0.1:8080/users/42?fields=name&verbose'
 *   curl http://127.0.0.1:8080/files/docs/2024/plan.txt
 *   curl -d 'any bytes' -H 'X-Team: red' http://127.0.0.1:8080/inspect
 */
#include <neurohttp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static nh_server *server;

static void on_signal(int number)
{
    (void)number;
    nh_server_stop(server);
}

static void check(nh_status status, const char *what)
{
    if (status == NH_OK)
        return;
    fprintf(stderr, "params: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

static nh_status answer(nh_response *response, int32_t status, const char *text)
{
    return nh_response_send(response, status, "text/plain", text, NH_ZERO_TERMINATED);
}

/* GET /users/:id — a piece of the path, and the query: absent, empty or with a value. */
static nh_status user(nh_request *request, nh_response *response, void *user_data)
{
    const char *id = nh_request_param(request, "id", NULL);
    const char *fields = nh_request_query(request, "fields", NULL);
    const char *verbose = nh_request_query(request, "verbose", NULL);
    char text[512], *end;

    (void)user_data;
    strtoul(id, &end, 10);
    if (*id == '\0' || *end != '\0')
        return answer(response, 400, "an id is a number\n");
    snprintf(text, sizeof text, "user %s, fields %s%s\n", id, fields ? fields : "all",
             verbose ? ", in detail" : "");
    return answer(response, 200, text);
}

/* GET /files/ and the rest of the path, which is decoded and holds no "..". */
static nh_status file(nh_request *request, nh_response *response, void *user_data)
{
    char text[512];

    (void)user_data;
    snprintf(text, sizeof text, "file '%s'\n", nh_request_param(request, "rest", NULL));
    return answer(response, 200, text);
}

/* Any method on /inspect: the request as it came. */
static nh_status inspect(nh_request *request, nh_response *response, void *user_data)
{
    const char *team = nh_request_header(request, "x-team", NULL); /* in any case */
    size_t body_len;
    char text[1024];

    (void)user_data;
    nh_request_body(request, &body_len);
    snprintf(text, sizeof text, "%s %s\nteam %s\n%zu header fields\n%zu bytes of body\n",
             nh_request_method(request, NULL), nh_request_target(request, NULL),
             team ? team : "unknown", nh_request_header_count(request), body_len);
    nh_response_header(response, "X-Peer", nh_request_peer(request, NULL));
    return answer(response, 200, text);
}

int main(int argc, char **argv)
{
    nh_server_options options;
    char listen[64];

    snprintf(listen, sizeof listen, "127.0.0.1:%s", argc > 1 ? argv[1] : "8080");
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    check(nh_server_new(&options, &server), "new");

    check(nh_server_route(server, "GET", "/users/:id", 0, user, NULL, NULL), "/users");
    check(nh_server_route(server, "GET", "/files/*rest", 0, file, NULL, NULL), "/files");
    check(nh_server_route(server, "*", "/inspect", 0, inspect, NULL, NULL), "/inspect");
    check(nh_server_start(server), "start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);

    nh_server_wait(server, -1);
    nh_server_free(server);
    return 0;
}
