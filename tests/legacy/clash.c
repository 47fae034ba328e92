/* A host that defines functions named like ours: they are its own, and change nothing in the library.
 * It declares what it needs by hand, as a host would that does not include utils.h. */
#include "check.h"
#include "config.h"
#include "router.h"
#include "server.h"
#include "wire.h"

static int own_calls;

void log_message(const char *level, const char *message);
char *read_file(const char *name);
char *str_trim(char *text);
char *url_encode(const char *text);
int plugin_load(const char *path);
int string_to_int(const char *text, int *number);
void init_logging(const char *file, int level);
char *load_own(void);

void log_message(const char *level, const char *message) {
    (void)level;
    (void)message;
    own_calls++;
}
char *read_file(const char *name) {
    (void)name;
    own_calls++;
    return NULL;
}
/* The same name with another type in the host: parser.h declares it, so only the body is the host's. */
uint32_t crc32_asm(const void *data, size_t length) {
    (void)data;
    (void)length;
    own_calls++;
    return 42;
}
char *str_trim(char *text) {
    own_calls++;
    return text;
}
char *url_encode(const char *text) {
    (void)text;
    own_calls++;
    return NULL;
}
int plugin_load(const char *path) {
    (void)path;
    own_calls++;
    return 0;
}
int string_to_int(const char *text, int *number) {
    (void)text;
    (void)number;
    own_calls++;
    return 99;
}
void init_logging(const char *file, int level) {
    (void)file;
    (void)level;
    own_calls++;
}
int firewall_check_request(const char *ip, const char *key);
int firewall_check_request(const char *ip, const char *key) {
    (void)ip;
    (void)key;
    own_calls++;
    return -1;
}
void free_http_request(HTTPRequest *request) {
    (void)request;
    own_calls++;
}

int main(void) {
    Config config;
    Server server;
    memset(&config, 0, sizeof config);
    config.thread_count = 2;
    config.enable_firewall = 1;
    CHECK(load_config("/nowhere/at/all", &config) == -1 && config.port == 8080);
    config.port = 0;
    CHECK(server_init(&server, &config) == 0 && server_start(&server) == 0);
    CHECK_PAGE(server.port, "/health", "HTTP/1.1 200 ", "AIONIC/1.0");
    CHECK_PAGE(server.port, "/nowhere", "HTTP/1.1 404 ", "404");
    char *answer = ask(server.port, "POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
    CHECK_HAS(answer, "HTTP/1.1 502 ");
    free(answer);
    CHECK(server_stop(&server) == 0);
    server_cleanup(&server);
    CHECK(own_calls == 0);
    log_message("INFO", "mine");
    CHECK(crc32_asm("x", 1) == 42 && own_calls == 2);
    return 0;
}
