/* server.h and router.h: an old host as its authors wrote it. */
#include "check.h"
#include "firewall.h"
#include "optimizer.h"
#include "parser.h"
#include "router.h"
#include "server.h"
#include "wire.h"
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

static int middleware_calls;

static int count_and_guard(HTTPRequest *request, RouteResponse *response) {
    __atomic_fetch_add(&middleware_calls, 1, __ATOMIC_RELAXED);
    if (strcmp(request->path, "/blocked") == 0) {
        response->status_code = 403;
        response->data = strdup("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        response->length = strlen(response->data);
    }
    return strcmp(request->path, "/broken-middleware") == 0 ? -1 : 0;
}

static int whole_message(Server *server, HTTPRequest *request, RouteResponse *response) {
    char body[256];
    CHECK(server != NULL);
    int length = snprintf(body, sizeof body, "%s|%s|%d|%zu", request->path,
                          request->query_string ? request->query_string : "-", request->method, request->body_length);
    response->data = malloc(512);
    response->length = (size_t)snprintf(response->data, 512,
                                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Mine: yes\r\n"
                                        "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
                                        length, body);
    response->status_code = 200;
    return 0;
}

static int body_only(Server *server, HTTPRequest *request, RouteResponse *response) {
    (void)server;
    (void)request;
    response->status_code = 201;
    response->data = strdup("{\"made\":true}");
    response->length = strlen(response->data);
    response->headers[response->header_count++] = strdup("X-Extra: one");
    response->headers[response->header_count++] = strdup("X-Evil: a\r\nSet-Cookie: b");
    return 0;
}

static int streaming(Server *server, HTTPRequest *request, RouteResponse *response) {
    (void)server;
    (void)request;
    response->is_streaming = 1;
    response->length = 100000;
    response->data = malloc(response->length);
    memset(response->data, 's', response->length);
    return 0;
}

static int failing(Server *server, HTTPRequest *request, RouteResponse *response) {
    (void)server;
    (void)request;
    response->data = strdup("never seen");
    response->length = 10;
    return -1;
}

static int failing_with_answer(Server *server, HTTPRequest *request, RouteResponse *response) {
    (void)server;
    (void)request;
    response->status_code = 422;
    response->data = strdup("{\"why\":1}");
    response->length = strlen(response->data);
    return -1;
}

static int nothing(Server *server, HTTPRequest *request, RouteResponse *response) {
    (void)server;
    (void)request;
    (void)response;
    return 0;
}

static int slow(Server *server, HTTPRequest *request, RouteResponse *response) {
    usleep(300000);
    return whole_message(server, request, response);
}

static int stops_the_server(Server *server, HTTPRequest *request, RouteResponse *response) {
    CHECK(server_stop(server) == 0);
    return whole_message(server, request, response);
}

static int late_route(Server *server, HTTPRequest *request, RouteResponse *response) {
    return body_only(server, request, response);
}

static void *slow_client(void *port) {
    CHECK_PAGE(*(int *)port, "/slow", "HTTP/1.1 200 OK", "/slow|-|0|0");
    return NULL;
}

static void pages(Server *server) {
    int port = server->port;
    CHECK_PAGE(port, "/", "HTTP/1.1 200 OK", "Server: AIONIC/1.0");
    CHECK_PAGE(port, "/health", "Content-Type: application/json", "{\"status\": \"ok\", \"timestamp\": ");
    CHECK_PAGE(port, "/stats", "\"active_connections\": ", "{\"requests\": ");
    CHECK_PAGE(port, "/nowhere", "HTTP/1.1 404 Not Found", "Content-Type: text/html");
    CHECK_PAGE(port, "/message?a=b", "X-Mine: yes", "/message|a=b|0|0");
    CHECK_PAGE(port, "/message/", "HTTP/1.1 200", "/message/|-|0|0");
    CHECK_PAGE(port, "/users/7/posts/a%20b", "HTTP/1.1 200", "/users/7/posts/a%20b|-|0|0");
    CHECK_PAGE(port, "/users/7", "HTTP/1.1 404", "404 Not Found");
    CHECK_PAGE(port, "/body", "HTTP/1.1 201 Created", "Content-Type: application/json");
    CHECK_PAGE(port, "/body", "X-Extra: one", "{\"made\":true}");
    char *answer = get(port, "/body");
    CHECK(strstr(answer, "Set-Cookie") == NULL);
    free(answer);
    answer = get(port, "/stream");
    CHECK_HAS(answer, "Transfer-Encoding: chunked");
    CHECK(strlen(answer) > 100000);
    free(answer);
    answer = get(port, "/failing");
    CHECK_TEXT(answer, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    free(answer);
    CHECK_PAGE(port, "/failing-with-answer", "HTTP/1.1 422 ", "{\"why\":1}");
    CHECK_PAGE(port, "/nothing", "HTTP/1.1 204 ", "\r\n\r\n");
    CHECK_PAGE(port, "/blocked", "HTTP/1.1 403 ", "\r\n\r\nno");
    CHECK_PAGE(port, "/broken-middleware", "HTTP/1.1 500 ", "\r\n\r\n");
    answer = ask(port, "POST /message HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    CHECK_HAS(answer, "/message|-|1|3");
    free(answer);
    answer = ask(port, "DELETE /message HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK_HAS(answer, "HTTP/1.1 405 ");
    CHECK_HAS(answer, "Allow: GET, POST, HEAD, OPTIONS");
    free(answer);
    answer = ask(port, "OPTIONS /health HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK_HAS(answer, "HTTP/1.1 204 ");
    CHECK_HAS(answer, "Allow: GET, HEAD, OPTIONS");
    free(answer);
    answer = ask(port, "nonsense\r\n\r\n");
    CHECK_TEXT(answer, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    free(answer);
    int fd = dial(port);
    put(fd, "HEAD /message HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    char rest[1024] = {0};
    size_t size = 0;
    ssize_t got;
    while ((got = recv(fd, rest + size, sizeof rest - 1 - size, 0)) > 0) size += (size_t)got;
    CHECK_HAS(rest, "HTTP/1.1 200 ");
    CHECK(strcmp(rest + size - 4, "\r\n\r\n") == 0);
    close(fd);
}

static void keep_alive(Server *server) {
    int fd = dial(server->port);
    for (int i = 0; i < 3; i++) {
        put(fd, "GET /message HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n");
        char *answer = take(fd);
        CHECK_HAS(answer, "Connection: keep-alive");
        CHECK(strstr(answer, "Connection: close") == NULL);
        free(answer);
    }
    put(fd, "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    char *first = take(fd);
    if (strstr(strstr(first, "HTTP/1.1 ") + 9, "HTTP/1.1 ") == NULL) free(take(fd));
    free(first);
    close(fd);
}

static void by_hand(Server *server) {
    int pair[2];
    char seen[512] = {0};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    put(pair[1], "POST /message HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhelloGET /body HTTP/1.0\r\n\r\n");
    CHECK(server_handle_request(server, pair[0]) == 0);
    CHECK(server_handle_request(server, pair[0]) == -1);
    CHECK(recv(pair[1], seen, sizeof seen - 1, 0) > 0);
    CHECK_HAS(seen, "/message|-|1|5");
    CHECK_HAS(seen, "HTTP/1.1 201 Created");
    CHECK(server_send_response(server, pair[0], "raw", 3) == 0);
    memset(seen, 0, sizeof seen);
    CHECK(recv(pair[1], seen, sizeof seen - 1, 0) == 3);
    CHECK_TEXT(seen, "raw");
    put(pair[1], "garbage\r\n\r\n");
    CHECK(server_handle_request(server, pair[0]) == -1);
    close(pair[1]);
    CHECK(server_handle_request(server, pair[0]) == -1);
    close(pair[0]);
    CHECK(server_handle_request(server, pair[0]) == -1);
}

/* The optimizer's samples are those of the server that runs. */
static void measured(Server *server) {
    PerformanceData data;
    char *report;
    int size;
    CHECK(optimizer_init(NULL) == 0);
    int fd = dial(server->port);
    put(fd, "GET /body HTTP/1.1\r\nHost: x\r\n\r\n");
    free(take(fd));
    CHECK(optimizer_get_current_data(&data) == 0 && data.active_connections >= 1);
    CHECK(data.avg_response_time > 0.0 && data.thread_pool_utilization >= 0 && data.thread_pool_utilization <= 100);
    CHECK(optimizer_run(server) == 0 && optimizer_get_average_data(&data) == 0 && data.active_connections >= 1);
    CHECK(optimizer_generate_report(&report, &size) == 0 && (int)strlen(report) == size);
    free(report);
    close(fd);
    optimizer_cleanup();
}

static void without_a_socket(Server *server) {
    HTTPRequest request;
    RouteResponse response;
    memset(&response, 0, sizeof response);
    CHECK(create_error_response(&response, ROUTE_ERROR_INVALID_PARAM, 422) == 0 && response.status_code == 422);
    CHECK_TEXT(response.status_message, "Unprocessable Content");
    CHECK(strncmp(response.data, "HTTP/1.1 422 Unprocessable Content\r\n", 36) == 0);
    CHECK_HAS(response.data, "{\"error\": \"Invalid parameter\", \"code\": 2, \"timestamp\": ");
    free_route_response(&response);
    CHECK(create_error_response(&response, ROUTE_ERROR_INTERNAL, 599) == 0 && response.status_code == 599);
    free_route_response(&response);
    memset(&response, 0xff, sizeof response);
    CHECK(parse_http_request("GET /message HTTP/1.1\r\n\r\n", &request) == 0);
    CHECK(route_request(server, &request, &response) == 0 && response.status_code == 200);
    CHECK(strncmp(response.data, "HTTP/1.1 200 OK\r\n", 17) == 0);
    free_route_response(&response);
    free_http_request(&request);
    CHECK(parse_http_request("GET /nowhere HTTP/1.1\r\n\r\n", &request) == 0);
    CHECK(route_request(server, &request, &response) == 0 && response.status_code == 404);
    CHECK(strlen(response.data) == response.length && strstr(response.data, "text/html") != NULL);
    free_route_response(&response);
    free_http_request(&request);
    CHECK(parse_http_request("GET /failing HTTP/1.1\r\n\r\n", &request) == 0);
    CHECK(route_request(server, &request, &response) == -1);
    free_route_response(&response);
    free_http_request(&request);
}

/* What the server refuses the functions count, and what they list or block it refuses. */
static void one_firewall(Server *server) {
    FirewallStats before, after;
    BlockReason reason;
    CHECK(firewall_get_stats(&before) == 0 && before.total_requests >= 10);
    CHECK_PAGE(server->port, "/body?q=1%27%20UNION%20SELECT%20password%20FROM%20users--", "HTTP/1.1 403 ", "\r\n\r\n");
    CHECK(firewall_get_stats(&after) == 0 && after.total_requests == before.total_requests + 1);
    CHECK(after.blocked_requests == before.blocked_requests + 1);
    CHECK(after.attack_pattern_hits == before.attack_pattern_hits + 1);
    CHECK(after.suspicious_activities == before.suspicious_activities + 1);
    int fd = dial(server->port);
    put(fd, "GET /body HTTP/1.1\r\nHost: x\r\n\r\n");
    char *answer = take(fd);
    CHECK_HAS(answer, "HTTP/1.1 201 ");
    free(answer);
    CHECK(firewall_block_ip("127.0.0.1") == 0 && firewall_get_block_reason("127.0.0.1", &reason) == 0);
    put(fd, "GET /body HTTP/1.1\r\nHost: x\r\n\r\n");
    answer = take(fd);
    CHECK_HAS(answer, "HTTP/1.1 403 ");
    free(answer);
    close(fd);
    CHECK_PAGE(server->port, "/body", "HTTP/1.1 403 ", "\r\n\r\n");
    CHECK(firewall_add_to_whitelist("127.0.0.1", 1, 0) == 0);
    CHECK_PAGE(server->port, "/body", "HTTP/1.1 201 ", "\r\n\r\n");
    CHECK(firewall_remove_from_whitelist("127.0.0.1") == 0 && firewall_unblock_ip("127.0.0.1") == 0);
    CHECK_PAGE(server->port, "/body", "HTTP/1.1 201 ", "\r\n\r\n");
    /* Who is on the black list is not even heard. */
    CHECK(firewall_add_to_blacklist("127.0.0.1", BLOCK_REASON_SUSPICIOUS, "a test") == 0);
    answer = get(server->port, "/body");
    CHECK_TEXT(answer, "");
    free(answer);
    CHECK(firewall_get_stats(&before) == 0 && before.blacklisted_ips == 1);
    CHECK(before.blocked_requests == after.blocked_requests + 3 && before.total_requests == after.total_requests + 6);
    /* A firewall that is begun anew is the server's too. */
    firewall_cleanup();
    CHECK_PAGE(server->port, "/body", "HTTP/1.1 201 ", "\r\n\r\n");
    CHECK(firewall_init(NULL) == 0);
    CHECK_PAGE(server->port, "/body", "HTTP/1.1 201 ", "\r\n\r\n");
    CHECK(firewall_get_stats(&after) == 0 && after.total_requests == 1 && after.blocked_requests == 0);
}

int main(void) {
    Config config;
    Server server;
    pthread_t client;
    memset(&config, 0, sizeof config);
    memset(&server, 0x5a, sizeof server);
    config.thread_count = 4;
    config.max_connections = 100;
    config.request_timeout = 5000;
    config.enable_firewall = 1;
    config.api_keys[0] = strdup("the-key");
    config.api_key_count = 1;
    CHECK(register_route("/message", HTTP_GET, whole_message) == 0);
    CHECK(server_init(&server, &config) == 0);
    free_config(&config);
    CHECK(server.port != 0 && server.server_fd >= 0 && server.running == 0 && server.thread_count == 4);
    CHECK(register_middleware(count_and_guard) == 0);
    CHECK(register_route("/message", HTTP_POST, whole_message) == 0);
    CHECK(register_route("/users/:id/posts/:post", HTTP_GET, whole_message) == 0);
    CHECK(register_route("/body", HTTP_GET, body_only) == 0);
    CHECK(register_route("/stream", HTTP_GET, streaming) == 0);
    CHECK(register_route("/failing", HTTP_GET, failing) == 0);
    CHECK(register_route("/failing-with-answer", HTTP_GET, failing_with_answer) == 0);
    CHECK(register_route("/nothing", HTTP_GET, nothing) == 0);
    CHECK(register_route("/slow", HTTP_GET, slow) == 0);
    CHECK(server_start(&server) == 0 && server.running == 1);
    CHECK(server_start(&server) == -1);
    CHECK(server_process_events(&server) == 0);
    pages(&server);
    keep_alive(&server);
    by_hand(&server);
    without_a_socket(&server);
    one_firewall(&server);
    measured(&server);
    CHECK(register_route("/late", HTTP_GET, late_route) == 0);
    CHECK_PAGE(server.port, "/late", "HTTP/1.1 201 ", "{\"made\":true}");
    CHECK(register_route("/", HTTP_GET, whole_message) == 0);
    CHECK_PAGE(server.port, "/", "HTTP/1.1 200 ", "/|-|0|0");
    char *answer = ask(server.port, "POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
    CHECK_HAS(answer, "HTTP/1.1 401 ");
    free(answer);
    answer = ask(server.port,
                 "POST /v1/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer the-key\r\nContent-Length: 2\r\n\r\nhi");
    CHECK_HAS(answer, "HTTP/1.1 502 ");
    CHECK_HAS(answer, "{\"error\": \"AI Router Error: Failed to process request\", \"code\": ");
    free(answer);
    CHECK(server.stats.total_requests >= 30 && server.stats.total_responses >= 30);
    CHECK(server.stats.bytes_sent > 100000 && server.stats.bytes_received > 1000);
    CHECK(server.stats.avg_response_time >= 0.0 && get_server_error_rate() > 0.0);
    CHECK(middleware_calls > 20);
    /* A stop finishes what is under way. */
    int port = server.port;
    CHECK(pthread_create(&client, NULL, slow_client, &port) == 0);
    usleep(100000);
    CHECK(server_stop(&server) == 0 && server.running == 0 && server.server_fd >= 0);
    pthread_join(client, NULL);
    CHECK(server.active_connections == 0);
    CHECK(server_stop(&server) == 0);
    /* And it starts again on the same socket. */
    CHECK(server_start(&server) == 0);
    CHECK_PAGE(port, "/health", "HTTP/1.1 200 ", "AIONIC/1.0");
    router_cleanup();
    CHECK_PAGE(port, "/message", "HTTP/1.1 404 ", "404");
    init_routes();
    CHECK(register_route("/stop", HTTP_GET, stops_the_server) == 0);
    CHECK_PAGE(port, "/stop", "HTTP/1.1 200 ", "/stop|");
    CHECK(server.running == 0 && server_stop(&server) == 0);
    server_cleanup(&server);
    CHECK(server.server_fd == -1);
    server_cleanup(&server);
    CHECK(server_start(&server) == -1);
    /* Its memory used anew, also without a cleanup in between. */
    for (int i = 0; i < 3; i++) {
        memset(&server, 0x77, sizeof server);
        CHECK(server_init(&server, &config) == 0 && server_start(&server) == 0);
        CHECK_PAGE(server.port, "/health", "HTTP/1.1 200 ", "AIONIC/1.0");
    }
    server_cleanup(&server);
    /* A host that switches the firewall off has none. */
    config.enable_firewall = 0;
    CHECK(server_init(&server, &config) == 0 && server_start(&server) == 0);
    CHECK(firewall_block_ip("127.0.0.1") == 0);
    CHECK_PAGE(server.port, "/health?q=1%27%20UNION%20SELECT%20password%20FROM%20users--", "HTTP/1.1 200 ", "AIONIC");
    server_cleanup(&server);
    return 0;
}
