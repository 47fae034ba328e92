/* wire.h: a plain HTTP client for the tests of the old server. */
#ifndef WIRE_H
#define WIRE_H

#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static inline int dial(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

static inline void put(int fd, const char *text) {
    size_t length = strlen(text);
    CHECK(send(fd, text, length, MSG_NOSIGNAL) == (ssize_t)length);
}

/* Reads one answer with a Content-Length or chunks, as it stands on the wire. */
static inline char *take(int fd) {
    size_t size = 0, room = 4096;
    char *text = malloc(room + 1);
    for (;;) {
        text[size] = '\0';
        char *end = strstr(text, "\r\n\r\n");
        if (end != NULL) {
            size_t head = (size_t)(end - text) + 4;
            char *length = strstr(text, "Content-Length: ");
            if (length != NULL && length < end) {
                if (size >= head + strtoul(length + 16, NULL, 10)) return text;
            } else if (strstr(text, "Transfer-Encoding: chunked") != NULL) {
                if (strstr(end, "0\r\n\r\n") != NULL) return text;
            } else {
                return text;
            }
        }
        if (room - size < 1024) {
            room *= 2;
            text = realloc(text, room + 1);
        }
        ssize_t got = recv(fd, text + size, room - size, 0);
        if (got <= 0) return text;
        size += (size_t)got;
    }
}

/* Asks on a connection of its own. */
static inline char *ask(int port, const char *request) {
    int fd = dial(port);
    put(fd, request);
    char *answer = take(fd);
    close(fd);
    return answer;
}

static inline char *get(int port, const char *path) {
    char request[1024];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    return ask(port, request);
}

#define CHECK_HAS(text, part)                                                                \
    do {                                                                                     \
        if (strstr((text), (part)) == NULL) {                                                \
            fprintf(stderr, "%s:%d: \"%s\" is not in:\n%s\n", __FILE__, __LINE__, (part), (text)); \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

/* Asks for a path and looks for two texts in the answer. */
#define CHECK_PAGE(port, path, first, second)                                                \
    do {                                                                                     \
        char *check_page = get(port, path);                                                  \
        CHECK_HAS(check_page, first);                                                        \
        CHECK_HAS(check_page, second);                                                       \
        free(check_page);                                                                    \
    } while (0)

#endif
