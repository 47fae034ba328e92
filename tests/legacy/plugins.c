/* plugin.h: loading, refusing, order, requests through plugins, unloading while requests run. */
#include "plugin.h"
#include "check.h"
#include "router.h"
#include "server.h"
#include "wire.h"
#include <pthread.h>
#include <unistd.h>

static int hello(Server *server, HTTPRequest *request, RouteResponse *response) {
    (void)server;
    (void)request;
    response->data = strdup("hello");
    response->length = 5;
    return 0;
}

static void *ask_slowly(void *port) {
    CHECK_PAGE(*(int *)port, "/slow-plugin", "HTTP/1.1 404 ", "404");
    return NULL;
}

static void *hammer(void *port) {
    for (int i = 0; i < 100; i++) {
        char *answer = get(*(int *)port, "/hello");
        CHECK_HAS(answer, "HTTP/1.1 200 ");
        free(answer);
    }
    return NULL;
}

int main(int argc, char **argv) {
    char path[512];
    char **names;
    int count;
    HTTPRequest request;
    RouteResponse response;
    Config config;
    Server server;
    pthread_t thread, many[4];
    CHECK(argc == 2);
    memset(&request, 0, sizeof request);
    memset(&response, 0, sizeof response);
    memset(&config, 0, sizeof config);
    request.path = "/x";

    CHECK(plugin_init(argv[1]) == 0);
    CHECK(plugin_get_list(&names, &count) == 0 && count == 3);
    CHECK_TEXT(names[0], "first");
    CHECK_TEXT(names[1], "second.with.dots");
    CHECK_TEXT(names[2], "third");
    free_list(names, count);
    snprintf(path, sizeof path, "%s/first.so", argv[1]);
    CHECK(plugin_load(path) == -1);
    snprintf(path, sizeof path, "%s/lacks.so", argv[1]);
    CHECK(plugin_load(path) == -1);
    snprintf(path, sizeof path, "%s/fails.so", argv[1]);
    CHECK(plugin_load(path) == -1);
    CHECK(plugin_process_request(&request, &response) == 0 && response.header_count == 1);
    free_route_response(&response);
    CHECK(plugin_get_list(&names, &count) == 0 && count == 2); /* third has unloaded itself */
    free_list(names, count);
    CHECK(plugin_set_enabled("first", 0) == 0 && plugin_process_request(&request, &response) == 0);
    CHECK(response.header_count == 0);
    CHECK(plugin_set_enabled("first", 1) == 0 && plugin_set_enabled("unknown", 1) == -1);
    CHECK(plugin_set_enabled("first", 0) == 0);
    CHECK(plugin_process_request(&request, &request) == 3); /* the last non-zero of all */
    CHECK(plugin_set_enabled("first", 1) == 0);

    config.thread_count = 4;
    CHECK(server_init(&server, &config) == 0 && register_route("/hello", HTTP_GET, hello) == 0);
    CHECK(server_start(&server) == 0);
    int port = server.port;
    CHECK_PAGE(port, "/hello", "X-First: seen", "\r\n\r\nhello");
    CHECK_PAGE(port, "/nowhere", "HTTP/1.1 404 ", "X-First: seen");
    CHECK_PAGE(port, "/refused", "HTTP/1.1 403 ", "\r\n\r\n");
    CHECK_PAGE(port, "/limited", "HTTP/1.1 429 ", "{\"slow\":\"down\"}");
    CHECK_PAGE(port, "/from-plugin", "HTTP/1.1 200 ", "plugin text");
    /* Unloading waits for the call that is inside. */
    CHECK(pthread_create(&thread, NULL, ask_slowly, &port) == 0);
    usleep(80000);
    CHECK(plugin_unload("first") == 0 && plugin_unload("first") == -1);
    pthread_join(thread, NULL);
    CHECK_PAGE(port, "/refused", "HTTP/1.1 404 ", "404");
    /* Loaded and unloaded over and over while requests run. */
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&many[i], NULL, hammer, &port) == 0);
    snprintf(path, sizeof path, "%s/first.so", argv[1]);
    for (int i = 0; i < 30; i++) {
        CHECK(plugin_load(path) == 0);
        usleep(2000);
        CHECK(plugin_unload("first") == 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(many[i], NULL);
    CHECK(server_stop(&server) == 0);
    server_cleanup(&server);
    plugin_cleanup();
    plugin_cleanup();
    CHECK(plugin_get_list(&names, &count) == -1);
    CHECK(plugin_init(argv[1]) == 0 && plugin_get_list(&names, &count) == 0 && count == 3);
    free_list(names, count);
    plugin_cleanup();
    return 0;
}
