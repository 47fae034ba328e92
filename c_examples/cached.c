/* cached.c PORT: a key-value store with times to live in the server's cache, and a route whose
 * answers the server keeps.
 *
 *   ./cached 8080
 *   curl -X PUT --data 'milk and eggs' 'http://127.0.0.1:8080/notes/shopping?seconds=60'
 *   curl http://127.0.0.1:8080/notes/shopping
 *   curl -X DELETE http://127.0.0.1:8080/notes/shopping
 *   curl -i http://127.0.0.1:8080/squares     # the second time with x-neurohttp-cache: hit
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
    fprintf(stderr, "cached: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

static nh_status empty(nh_response *response, uint32_t status)
{
    return nh_response_send(response, status, NULL, NULL, 0);
}

static nh_status put_note(nh_request *request, nh_response *response, void *user_data)
{
    const char *seconds = nh_request_query(request, "seconds", NULL);
    size_t len;
    const void *text = nh_request_body(request, &len);
    nh_status status;

    (void)user_data;
    status = nh_cache_put(server, nh_request_param(request, "name", NULL), text, len,
                          seconds ? strtol(seconds, NULL, 10) : 0);
    if (status == NH_ERR_LIMIT)
        return empty(response, 413); /* larger than the cache keeps */
    return status == NH_OK ? empty(response, 204) : status;
}

static nh_status get_note(nh_request *request, nh_response *response, void *user_data)
{
    void *text;
    size_t len;
    nh_status status;

    (void)user_data;
    status = nh_cache_get(server, nh_request_param(request, "name", NULL), &text, &len);
    if (status == NH_ERR_NOT_FOUND)
        return empty(response, 404); /* never put, over, or gone to make room */
    if (status != NH_OK)
        return status;
    status = nh_response_send(response, 200, "text/plain", text, len);
    nh_free(text); /* it was ours; the response has a copy */
    return status;
}

static nh_status delete_note(nh_request *request, nh_response *response, void *user_data)
{
    nh_status status = nh_cache_delete(server, nh_request_param(request, "name", NULL));

    (void)user_data;
    return empty(response, status == NH_OK ? 204 : 404);
}

/* Runs once a minute at most: the server answers the rest, and those with If-None-Match by 304. */
static nh_status squares(nh_request *request, nh_response *response, void *user_data)
{
    char text[4096];
    int len = 0;

    (void)request, (void)user_data;
    for (int i = 1; i <= 100; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "%d\n", i * i);
    nh_response_header(response, "Cache-Control", "max-age=60");
    nh_response_header(response, "ETag", "\"1\"");
    return nh_response_send(response, 200, "text/plain", text, (size_t)len);
}

int main(int argc, char **argv)
{
    nh_server_options options;
    char listen[64];

    if (argc != 2) {
        fputs("usage: cached PORT\n", stderr);
        return 2;
    }
    snprintf(listen, sizeof listen, "127.0.0.1:%s", argv[1]);
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    options.flags = NH_SERVER_NO_ENV;
    options.config_text = "[cache]\nmax_entries = 10000\nmax_bytes = 67108864\nttl = 3600\n";
    check(nh_server_new(&options, &server), "new");
    check(nh_server_route(server, "PUT", "/notes/:name", 0, put_note, NULL, NULL), "put");
    check(nh_server_route(server, "GET", "/notes/:name", 0, get_note, NULL, NULL), "get");
    check(nh_server_route(server, "DELETE", "/notes/:name", 0, delete_note, NULL, NULL), "delete");
    check(nh_server_route(server, "GET", "/squares", NH_ROUTE_CACHE, squares, NULL, NULL), "squares");
    check(nh_server_start(server), "start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);

    nh_server_wait(server, -1);
    nh_cache_clear(server);
    nh_server_free(server);
    return 0;
}
