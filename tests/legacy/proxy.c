/* The shipped plugins in an old host: openai_proxy over a model of our own, limiter and logstats by their files.
 * argv[1] is the folder with the plugins. */
#define _GNU_SOURCE
#include "ai/prompt_router.h"
#include "plugin.h"
#include "server.h"
#include "model.h"

static int port;

static char *post(const char *path, const char *headers, const char *body) {
    char request[8192];
    snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", path, headers,
             strlen(body), body);
    return ask(port, request);
}

#define CHECK_POST(path, headers, body, first, second)                                       \
    do {                                                                                     \
        char *check_post = post(path, headers, body);                                        \
        CHECK_HAS(check_post, first);                                                        \
        CHECK_HAS(check_post, second);                                                       \
        free(check_post);                                                                    \
    } while (0)

#define CHAT "/v1/chat/completions"
#define KEY "Authorization: Bearer k\r\n"

static void *many(void *unused) {
    (void)unused;
    for (int i = 0; i < 25; i++)
        CHECK_POST(CHAT, KEY, "{\"model\":\"mine\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}",
                   "HTTP/1.1 200 OK", "\"content\":\"an \\u0022answer\\u0022\\u000a\xc3\xbc\"");
    return NULL;
}

int main(int argc, char **argv) {
    Config config;
    Server server;
    pthread_t threads[8];
    char **names, url[64], path[1024], line[2048];
    int count;
    FILE *file;

    CHECK(argc == 2);
    snprintf(path, sizeof path, "%s/limiter.conf", argv[1]);
    file = fopen(path, "w");
    CHECK(file != NULL);
    fprintf(file, "# old grammar\n by = header:X-Client\nrequests = 1\nseconds=3600\nburst = 2\npaths = /limited, /also\n");
    fclose(file);
    CHECK(setenv("LIMITER_CONF", path, 1) == 0);
    snprintf(path, sizeof path, "%s/logstats.conf", argv[1]);
    file = fopen(path, "w");
    CHECK(file != NULL);
    fprintf(file, "file = %s/rows.jsonl\n", argv[1]);
    fclose(file);
    CHECK(setenv("LOGSTATS_CONF", path, 1) == 0);

    memset(&config, 0, sizeof config);
    config.thread_count = 8;
    config.api_keys[0] = strdup("k");
    config.api_key_count = 1;
    CHECK(server_init(&server, &config) == 0);
    free_config(&config);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/chat/completions", start_model());
    CHECK(plugin_init(argv[1]) == 0);
    CHECK(plugin_get_list(&names, &count) == 0 && count == 3);
    CHECK_TEXT(names[0], "limiter");
    CHECK_TEXT(names[1], "logstats");
    CHECK_TEXT(names[2], "openai_proxy");
    free_list(names, count);
    CHECK(prompt_router_add_model("mine", url, 100, 0.5f) == 0);
    CHECK(server_start(&server) == 0);
    port = server.port;

    /* A key that is set guards what a plugin answers too. */
    CHECK_POST(CHAT, "", "{}", "HTTP/1.1 401 ", "key");
    CHECK_POST(CHAT, KEY, "{\"messages\":", "HTTP/1.1 400 ", "invalid_json");
    CHECK_POST(CHAT, KEY, "{\"messages\":[]}", "HTTP/1.1 400 ", "missing_messages");
    CHECK_POST(CHAT, KEY, "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "HTTP/1.1 404 ",
               "model_not_found");
    CHECK_POST(CHAT, KEY,
               "{\"model\":\"mine\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]}",
               "HTTP/1.1 400 ", "no text");
    CHECK_POST(CHAT, KEY, "{\"model\":\"mine\",\"messages\":[{\"role\":\"user\",\"content\":\"FAIL\"}]}", "HTTP/1.1 502 ",
               "upstream_error");
    CHECK_POST(CHAT, KEY,
               "{\"stream\":true,\"model\":\"mine\",\"messages\":[{\"role\":\"system\",\"content\":\"be \\ud83d\\ude00\"},"
               "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":\" two\"}]}]}",
               "text/event-stream", "data: [DONE]\n\n");
    CHECK_HAS(last_request, "system: be \xf0\x9f\x98\x80\\n\\nuser: one two");
    char *answer = ask(port, "GET /v1/models HTTP/1.1\r\nHost: x\r\n" KEY "\r\n");
    CHECK_HAS(answer, "{\"id\":\"mine\",\"object\":\"model\"");
    free(answer);

    for (int i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, many, NULL) == 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);

    for (int i = 0; i < 4; i++) {
        answer = ask(port, "GET /limited HTTP/1.1\r\nHost: x\r\nX-Client: a\r\n\r\n");
        CHECK_HAS(answer, i < 2 ? "HTTP/1.1 404 " : "HTTP/1.1 429 ");
        if (i >= 2) CHECK_HAS(answer, "Retry-After: 3");
        free(answer);
    }
    CHECK_PAGE(port, "/free", "HTTP/1.1 404 ", "404");

    server_stop(&server);
    plugin_cleanup();
    server_cleanup(&server);
    prompt_router_cleanup();
    stop_model();
    snprintf(path, sizeof path, "%s/rows.jsonl", argv[1]);
    file = fopen(path, "r");
    CHECK(file != NULL);
    for (count = 0; fgets(line, sizeof line, file) != NULL; count++) CHECK_HAS(line, "\"method\":\"");
    fclose(file);
    /* Refused by key: no plugin was asked. Refused by the limiter: the others were not. */
    CHECK(count == 6 + 1 + 8 * 25 + 2 + 1);
    return 0;
}
