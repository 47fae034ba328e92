/* hello.c: one route, and a clean stop on Ctrl-C or SIGTERM.
 *
 *   ./hello 8080
 *   curl http://127.0.0.1:8080/hello/Ada
 */
#include <neurohttp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static nh_server *server;

static void on_signal(int number)
{
    (void)number;
    nh_server_stop(server); /* the one call that a signal handler may make */
}

static void die(const char *what)
{
    fprintf(stderr, "hello: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

/* Runs on the loop: it must not block, and here it does not. */
static nh_status hello(nh_request *request, nh_response *response, void *user_data)
{
    char text[256];

    (void)user_data;
    snprintf(text, sizeof text, "Hello, %s!\n", nh_request_param(request, "name", NULL));
    return nh_response_send(response, 200, "text/plain", text, NH_ZERO_TERMINATED);
}

int main(int argc, char **argv)
{
    nh_server_options options;
    char listen[64];

    snprintf(listen, sizeof listen, "127.0.0.1:%s", argc > 1 ? argv[1] : "8080");
    nh_server_options_init(&options, sizeof options);
    options.listen = listen; /* port 0 picks a free one */

    if (nh_server_new(&options, &server) != NH_OK)
        die("the server cannot be made");
    if (nh_server_route(server, "GET", "/hello/:name", 0, hello, NULL, NULL) != NH_OK)
        die("the route is refused");
    if (nh_server_start(server) != NH_OK)
        die("the server does not start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);

    nh_server_wait(server, -1); /* until on_signal, and until open requests are answered */
    nh_server_free(server);
    return 0;
}
