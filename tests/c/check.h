/* check.h: what the C tests share. A failed check says where and ends the program. */
#ifndef CHECK_H
#define CHECK_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <neurohttp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <threads.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_STATUS(call, wanted)                                                                 \
    do {                                                                                           \
        nh_status check_status = (call);                                                           \
        if (check_status != (wanted)) {                                                            \
            fprintf(stderr, "%s:%d: %s gave %s, wanted %s (%s)\n", __FILE__, __LINE__, #call,      \
                    nh_status_name(check_status), nh_status_name(wanted),                          \
                    nh_last_error_message());                                                      \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_OK(call) CHECK_STATUS(call, NH_OK)

#define CHECK_TEXT(text, wanted)                                                                   \
    do {                                                                                           \
        const char *check_text = (text);                                                           \
        if (check_text == NULL || strcmp(check_text, (wanted)) != 0) {                             \
            fprintf(stderr, "%s:%d: %s is \"%s\", wanted \"%s\"\n", __FILE__, __LINE__, #text,     \
                    check_text ? check_text : "(null)", (wanted));                                 \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Counts how often it ran: for drops. */
static inline void count_up(void *counter)
{
    atomic_fetch_add((atomic_int *)counter, 1);
}

/* Silence for servers whose log is not the point. */
static inline void no_log(int32_t level, const char *message, size_t len, void *user_data)
{
    (void)level;
    (void)message;
    (void)len;
    (void)user_data;
}

/* Options for a small quiet server on a free port. */
static inline nh_server_options quiet_options(void)
{
    nh_server_options options;

    nh_server_options_init(&options, sizeof options);
    options.listen = "127.0.0.1:0";
    options.workers = 1;
    options.flags = NH_SERVER_NO_ENV;
    options.log = no_log;
    return options;
}

static inline nh_server *quiet_server(void)
{
    nh_server_options options = quiet_options();
    nh_server *server = NULL;

    CHECK_OK(nh_server_new(&options, &server));
    return server;
}

/* A connection to the server. Reads wait 20 seconds at most. */
static inline int dial(const nh_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_port = htons(nh_server_port(server));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

static inline void say(int fd, const char *text)
{
    size_t len = strlen(text);

    CHECK(send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len);
}

/* Everything until the peer closes, NUL-terminated; a static buffer. */
static inline char *hear(int fd)
{
    static char text[1 << 20];
    size_t len = 0;
    ssize_t got;

    while ((got = recv(fd, text + len, sizeof text - 1 - len, 0)) > 0)
        len += (size_t)got;
    CHECK(got == 0 || errno == ECONNRESET);
    text[len] = '\0';
    close(fd);
    return text;
}

/* One request on a connection of its own: the whole answer, in a static buffer. */
static inline char *ask(const nh_server *server, const char *method, const char *target,
                        const char *body)
{
    char head[512];
    int fd = dial(server);

    snprintf(head, sizeof head,
             "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
             method, target, strlen(body));
    say(fd, head);
    if (*body != '\0')
        say(fd, body);
    return hear(fd);
}

static inline char *get(const nh_server *server, const char *target)
{
    return ask(server, "GET", target, "");
}

static inline int status_of(const char *answer)
{
    CHECK(strncmp(answer, "HTTP/1.1 ", 9) == 0);
    return atoi(answer + 9);
}

static inline const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");

    CHECK(end != NULL);
    return end + 4;
}

/* Waits until the counter has this value. */
static inline void wait_for(atomic_int *counter, int wanted)
{
    int turn;

    for (turn = 0; turn < 20000 && atomic_load(counter) != wanted; turn++)
        poll(NULL, 0, 1);
    if (atomic_load(counter) != wanted) {
        fprintf(stderr, "waited for %d, it is %d\n", wanted, atomic_load(counter));
        exit(1);
    }
}

#endif
