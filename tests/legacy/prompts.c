/* ai/prompt_router.h against a model of our own on the loopback; prompts side by side. */
#define _GNU_SOURCE
#include "ai/prompt_router.h"
#include "wire.h"
#include <pthread.h>

static int listener;
static char last_request[8192];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int inside, most_inside;

static void *answer(void *argument) {
    int fd = *(int *)argument;
    char text[8192] = {0};
    size_t size = 0;
    free(argument);
    for (;;) {
        ssize_t got = recv(fd, text + size, sizeof text - 1 - size, 0);
        if (got <= 0) break;
        size += (size_t)got;
        char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
        if (end != NULL && length != NULL && size >= (size_t)(end + 4 - text) + strtoul(length + 15, NULL, 10)) break;
    }
    pthread_mutex_lock(&lock);
    memcpy(last_request, text, sizeof text);
    if (++inside > most_inside) most_inside = inside;
    pthread_mutex_unlock(&lock);
    const char *status = "200 OK";
    const char *body = "{\"id\":\"x\",\"object\":\"chat.completion\",\"model\":\"m\",\"choices\":[{\"index\":0,"
                       "\"message\":{\"role\":\"assistant\",\"content\":\"an \\\"answer\\\"\\n\\u00fc\"},"
                       "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,"
                       "\"total_tokens\":7}}";
    if (strstr(text, "FAIL") != NULL) status = "500 Oops", body = "{\"error\":{\"message\":\"no\"}}";
    if (strstr(text, "SLOW") != NULL) usleep(300000);
    if (strstr(text, "GARBAGE") != NULL) body = "not json";
    char reply[2048];
    int length = snprintf(reply, sizeof reply,
                          "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                          status, strlen(body), body);
    send(fd, reply, (size_t)length, MSG_NOSIGNAL);
    pthread_mutex_lock(&lock);
    inside--;
    pthread_mutex_unlock(&lock);
    close(fd);
    return NULL;
}

static void *serve(void *unused) {
    (void)unused;
    for (;;) {
        int *fd = malloc(sizeof *fd);
        *fd = accept(listener, NULL, NULL);
        if (*fd < 0) {
            free(fd);
            return NULL;
        }
        pthread_t thread;
        pthread_create(&thread, NULL, answer, fd);
        pthread_detach(thread);
    }
}

static void *slow_prompt(void *unused) {
    char response[64];
    (void)unused;
    CHECK(prompt_router_route("SLOW", "mine", response, sizeof response) == 0);
    return NULL;
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    pthread_t thread, many[4];
    char url[128], response[256], tiny[5];
    char **models;
    int count;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 64) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    CHECK(pthread_create(&thread, NULL, serve, NULL) == 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/deep/v1/chat/completions", ntohs(address.sin_port));

    CHECK(prompt_router_init() == 0 && prompt_router_init() == 0);
    CHECK(prompt_router_get_models(&models, &count) == 0 && count == 3);
    CHECK_TEXT(models[0], "llama-3.3-70b-versatile");
    free_list(models, count);
    CHECK(prompt_router_add_model("mine", url, 100, 0.25f) == 0 && prompt_router_add_model("mine", url, 50, 0.25f) == 0);
    CHECK(prompt_router_set_default_model("mine") == 0);
    setenv("OPENAI_API_KEY", "secret-key", 1);
    CHECK(prompt_router_route("say \"hi\"\n", NULL, response, sizeof response) == 0);
    CHECK_TEXT(response, "an \"answer\"\n\xc3\xbc");
    CHECK_HAS(last_request, "POST /deep/v1/chat/completions HTTP/1.1");
    CHECK_HAS(last_request, "Bearer secret-key");
    CHECK_HAS(last_request, "say \\\"hi\\\"\\n");
    CHECK_HAS(last_request, "\"temperature\":0.25");
    CHECK_HAS(last_request, "\"max_tokens\":50");
    unsetenv("OPENAI_API_KEY");
    CHECK(prompt_router_route("p", "mine", tiny, sizeof tiny) == 0);
    CHECK_TEXT(tiny, "an \"");
    CHECK(strcasestr(last_request, "authorization") == NULL);
    CHECK(prompt_router_route("FAIL", "mine", response, sizeof response) == -1);
    CHECK(prompt_router_route("GARBAGE", "mine", response, sizeof response) == -1);
    CHECK(prompt_router_set_model_availability("mine", 0) == 0);
    CHECK(prompt_router_route("p", "mine", response, sizeof response) == -1);
    CHECK(prompt_router_set_model_availability("mine", 1) == 0);
    CHECK(prompt_router_add_model("dead", "http://127.0.0.1:1/", 1, 0) == 0);
    CHECK(prompt_router_route("p", "dead", response, sizeof response) == -1 && response[0] != '\0');
    most_inside = 0;
    for (int i = 0; i < 4; i++) pthread_create(&many[i], NULL, slow_prompt, NULL);
    for (int i = 0; i < 4; i++) pthread_join(many[i], NULL);
    CHECK(most_inside > 1);
    CHECK(prompt_router_remove_model("mine") == 0 && prompt_router_route("p", "mine", response, sizeof response) == -1);
    prompt_router_cleanup();
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
    return 0;
}
