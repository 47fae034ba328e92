/* gateway.c: the whole gateway inside a C program, from its configuration file.
 *
 *   ./gateway 8080 neurohttp.toml
 *   curl http://127.0.0.1:8080/v1/models
 *   curl http://127.0.0.1:8080/v1/chat/completions -d '{"messages": [{"role": "user", "content": "Hi"}]}'
 *   curl http://127.0.0.1:8080/haiku
 *
 * Providers, models, keys and limits stand in the file; without one, they come from the
 * environment, and `echo` answers offline. The program adds a route of its own, which asks the
 * gateway's models too, and a log with its own prefix.
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
    fprintf(stderr, "gateway: %s: %s\n", what, nh_last_error_message());
    exit(status == NH_ERR_CONFIG ? 2 : 1);
}

/* From any thread. `message` ends with a NUL and has no line end. */
static void on_log(int32_t level, const char *message, size_t len, void *user_data)
{
    (void)len;
    fprintf(user_data, "gateway[%d]: %s\n", (int)level, message);
}

/* Runs on the pool, where waiting for a model is fine. */
static nh_status haiku(nh_request *request, nh_response *response, void *user_data)
{
    nh_client *client = user_data;
    nh_status status;
    nh_reply *reply;
    size_t len;
    const char *text;

    (void)request;
    status = nh_prompt(client, NULL, "Write a haiku about sockets.", &reply);
    if (status != NH_OK) {
        fprintf(stderr, "gateway: no haiku: %s\n", nh_last_error_message());
        return nh_response_send(response, 502, "text/plain", "no haiku today\n",
                                NH_ZERO_TERMINATED);
    }
    text = nh_reply_text(reply, &len);
    status = nh_response_send(response, 200, "text/plain; charset=utf-8", text, len);
    nh_reply_free(reply);
    return status;
}

static void free_client(void *client)
{
    nh_client_free(client);
}

int main(int argc, char **argv)
{
    nh_server_options options;
    nh_client *client;
    char listen[64];

    snprintf(listen, sizeof listen, "127.0.0.1:%s", argc > 1 ? argv[1] : "8080");
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    options.config_file = argc > 2 ? argv[2] : NULL;
    options.log = on_log;
    options.log_user_data = stderr;
    check(nh_server_new(&options, &server), "new");
    check(nh_server_client(server, &client), "client");
    check(nh_server_route(server, "GET", "/haiku", NH_ROUTE_BLOCKING, haiku, client, free_client),
          "/haiku");
    check(nh_server_start(server), "start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);

    check(nh_server_wait(server, -1), "wait");
    nh_server_free(server);
    return 0;
}
