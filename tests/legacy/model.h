/* model.h: a model of our own on the loopback, in OpenAI's form, for the tests of the prompt router. Define
 * _GNU_SOURCE first. What a prompt says decides: FAIL, SLOW, GARBAGE. */
#ifndef MODEL_H
#define MODEL_H

#include "wire.h"
#include <pthread.h>

static int listener;
static pthread_t model_thread;
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

/* Starts it; its port. */
static int start_model(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 64) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    CHECK(pthread_create(&model_thread, NULL, serve, NULL) == 0);
    return ntohs(address.sin_port);
}

static void stop_model(void) {
    shutdown(listener, SHUT_RDWR);
    pthread_join(model_thread, NULL);
    close(listener);
}

#endif
