/* A load generator for `make bench`: keep-alive connections to 127.0.0.1, one thread, epoll.
 *
 *   load PORT CONNECTIONS SECONDS DEPTH CLOSE FILE
 *
 * FILE holds one request as it goes on the wire. DEPTH requests are sent at once on each connection;
 * with CLOSE 1 every request has a connection of its own. Prints one line of JSON: requests answered
 * with 200, the seconds they took, median and 99th percentile of their times in microseconds, errors.
 * An answer ends where its Content-Length or its last chunk says; anything else is an error. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1024, DEPTH_MAX = 64, IN_MAX = 1 << 20, SAMPLES_MAX = 1 << 20 };

typedef struct {
    int fd;
    int waiting;     /* answers that are still to come */
    size_t out_sent; /* bytes of the batch that are out */
    size_t in_len;
    uint64_t sent_ns;
    char *in;
} connection;

static connection connections[CONNECTIONS_MAX];
static int poll_fd, port, depth;
static bool closes;
static char *batch;
static size_t batch_len;
static uint64_t answered, failed, sample_count;
static uint32_t *samples;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void watch(connection *c, int how, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poll_fd, how, c->fd, &event) != 0) die("epoll_ctl");
}

/* Sends what is left of the batch. */
static void send_batch(connection *c) {
    while (c->out_sent < batch_len) {
        ssize_t sent = send(c->fd, batch + c->out_sent, batch_len - c->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        if (sent < 0) {
            failed++;
            return;
        }
        c->out_sent += (size_t)sent;
    }
}

static void begin(connection *c) {
    c->waiting = depth;
    c->out_sent = 0;
    c->sent_ns = now_ns();
    send_batch(c);
}

static void open_connection(connection *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0) die("connect");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) die("fcntl");
    c->in_len = 0;
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
    begin(c);
}

/* The length of the first answer in `text`, 0 while it is not whole, SIZE_MAX when it is none. */
static size_t answer_length(const char *text, size_t len) {
    const char *end = memmem(text, len, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    size_t head = (size_t)(end - text) + 4;
    if (memcmp(text, "HTTP/1.1 200", 12) != 0) return SIZE_MAX;
    for (const char *line = text; line < end;) {
        const char *next = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        if (strncasecmp(line, "content-length:", 15) == 0) {
            size_t whole = head + strtoul(line + 15, NULL, 10);
            return whole <= len ? whole : 0;
        }
        if (strncasecmp(line, "transfer-encoding:", 18) == 0) {
            const char *last = memmem(text + head, len - head, "\r\n0\r\n\r\n", 7);
            return last != NULL ? (size_t)(last - text) + 7 : 0;
        }
        line = next + 2;
    }
    return SIZE_MAX;
}

static void reopen(connection *c) {
    close(c->fd);
    open_connection(c);
}

static void receive(connection *c) {
    ssize_t got = recv(c->fd, c->in + c->in_len, IN_MAX - c->in_len, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        failed += (uint64_t)c->waiting;
        reopen(c);
        return;
    }
    c->in_len += (size_t)got;
    size_t at = 0;
    while (c->waiting > 0) {
        size_t length = answer_length(c->in + at, c->in_len - at);
        if (length == 0) break;
        if (length == SIZE_MAX) {
            failed++;
            reopen(c);
            return;
        }
        at += length;
        c->waiting--;
        answered++;
        if (sample_count < SAMPLES_MAX) {
            samples[sample_count++] = (uint32_t)((now_ns() - c->sent_ns) / 1000);
        }
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    if (c->waiting > 0) return;
    if (closes) {
        reopen(c);
    } else {
        begin(c);
    }
}

static int by_size(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) die(path);
    static char request[1 << 20];
    size_t len = fread(request, 1, sizeof request, file);
    fclose(file);
    batch = malloc(len * (size_t)depth);
    if (batch == NULL) die("malloc");
    for (int i = 0; i < depth; i++) memcpy(batch + (size_t)i * len, request, len);
    batch_len = len * (size_t)depth;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS DEPTH CLOSE FILE\n");
        return 2;
    }
    port = atoi(argv[1]);
    int count = atoi(argv[2]);
    double seconds = atof(argv[3]);
    depth = atoi(argv[4]);
    closes = atoi(argv[5]) != 0;
    if (count < 1 || count > CONNECTIONS_MAX || depth < 1 || depth > DEPTH_MAX) return 2;
    read_request(argv[6]);
    samples = malloc(SAMPLES_MAX * sizeof *samples);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (samples == NULL || poll_fd < 0) die("epoll_create1");
    uint64_t began = now_ns(), end = began + (uint64_t)(seconds * 1e9), now = began;
    for (int i = 0; i < count; i++) {
        connections[i].in = malloc(IN_MAX);
        if (connections[i].in == NULL) die("malloc");
        open_connection(&connections[i]);
    }
    while ((now = now_ns()) < end) {
        struct epoll_event events[256];
        int ready = epoll_wait(poll_fd, events, 256, 100);
        for (int i = 0; i < ready; i++) {
            connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                watch(c, EPOLL_CTL_MOD, EPOLLIN);
                send_batch(c);
            }
            if (events[i].events & ~(uint32_t)EPOLLOUT) receive(c);
        }
    }
    qsort(samples, sample_count, sizeof *samples, by_size);
    uint32_t p50 = sample_count ? samples[sample_count / 2] : 0;
    uint32_t p99 = sample_count ? samples[sample_count * 99 / 100] : 0;
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u, \"errors\": %llu}\n",
           (unsigned long long)answered, (double)(now - began) / 1e9, p50, p99,
           (unsigned long long)failed);
    return 0;
}
