/* middleware.c: what happens around every route.
 *
 *   ./middleware 8080
 *   curl -i http://127.0.0.1:8080/open
 *   curl -i http://127.0.0.1:8080/private                              401
 *   curl -i -H 'X-Token: sesame' http://127.0.0.1:8080/private         200
 *   curl -i http://127.0.0.1:8080/nowhere                              404, with our header too
 */
#include <neurohttp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nh_server *server;
static atomic_ulong answers; /* several loops may run a middleware at once */

static void on_signal(int number)
{
    (void)number;
    nh_server_stop(server);
}

static void check(nh_status status, const char *what)
{
    if (status == NH_OK)
        return;
    fprintf(stderr, "middleware: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

/* Before: lets a request pass, or answers it and goes no further. */
static int32_t guard(nh_request *request, nh_response *response, void *user_data)
{
    const char *token = nh_request_header(request, "x-token", NULL);
    const char *wanted = user_data;

    if (strncmp(nh_request_path(request, NULL), "/private", 8) != 0)
        return NH_NEXT;
    if (token != NULL && strcmp(token, wanted) == 0)
        return NH_NEXT;
    nh_response_header(response, "WWW-Authenticate", "Token");
    nh_response_send(response, 401, "text/plain", "who are you?\n", NH_ZERO_TERMINATED);
    return NH_ANSWERED;
}

/* After: sees every answer, those of the guard, of the server itself and of errors too. */
static int32_t number(nh_request *request, nh_response *response, void *user_data)
{
    char text[32];

    (void)request;
    (void)user_data;
    snprintf(text, sizeof text, "%lu", atomic_fetch_add(&answers, 1) + 1);
    nh_response_header(response, "X-Answer-Number", text);
    return NH_NEXT;
}

/* After, too: turns the plain error of a missing page into one of our own. */
static int32_t own_404(nh_request *request, nh_response *response, void *user_data)
{
    char text[512];

    (void)user_data;
    if (nh_response_get_status(response) != 404)
        return NH_NEXT;
    snprintf(text, sizeof text, "nothing at %s\n", nh_request_path(request, NULL));
    nh_response_send(response, 404, "text/plain", text, NH_ZERO_TERMINATED);
    return NH_NEXT;
}

static nh_status page(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    return nh_response_send(response, 200, "text/plain", user_data, NH_ZERO_TERMINATED);
}

int main(int argc, char **argv)
{
    static char token[] = "sesame", open_page[] = "for everyone\n", private_page[] = "for you\n";
    nh_server_options options;
    char listen[64];

    snprintf(listen, sizeof listen, "127.0.0.1:%s", argc > 1 ? argv[1] : "8080");
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    check(nh_server_new(&options, &server), "new");

    check(nh_server_before(server, guard, token, NULL), "before");
    check(nh_server_after(server, number, NULL, NULL), "after");
    check(nh_server_after(server, own_404, NULL, NULL), "after"); /* runs first: reverse order */
    check(nh_server_route(server, "GET", "/open", 0, page, open_page, NULL), "/open");
    check(nh_server_route(server, "GET", "/private", 0, page, private_page, NULL), "/private");
    check(nh_server_start(server), "start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);

    nh_server_wait(server, -1);
    nh_server_free(server);
    return 0;
}
