/* echo.c PORT: answers every request on every path with its own body, and with nothing else on:
 * no built-in routes, no firewall, limits as wide as they go. A target for protocol tests.
 *
 *   ./echo 8080
 *   curl --data-binary @file http://127.0.0.1:8080/any/path
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
    fprintf(stderr, "echo: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

static nh_status echo(nh_request *request, nh_response *response, void *user_data)
{
    const char *type = nh_request_header(request, "content-type", NULL);
    size_t len;
    const void *body = nh_request_body(request, &len);

    (void)user_data;
    return nh_response_send(response, 200, type ? type : "application/octet-stream", body, len);
}

int main(int argc, char **argv)
{
    nh_server_options options;
    char listen[64];

    if (argc != 2) {
        fputs("usage: echo PORT\n", stderr);
        return 2;
    }
    snprintf(listen, sizeof listen, "127.0.0.1:%s", argv[1]);
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    options.workers = 1;
    options.flags = NH_SERVER_NO_ENV | NH_SERVER_NO_BUILTINS;
    options.config_text = "[server]\nmax_connections = 1000000\n"
                          "[limits]\nrequest_line = 1048576\nheader_section = 16777216\n"
                          "body = 1099511627776\n"
                          "[firewall]\nenable = false\n"
                          "[log]\nlevel = \"warn\"\n";
    check(nh_server_new(&options, &server), "new");
    check(nh_server_route(server, "*", "/*path", 0, echo, NULL, NULL), "/*path");
    check(nh_server_start(server), "start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);

    nh_server_wait(server, -1);
    nh_server_free(server);
    return 0;
}
