/* What overload does to a server, with and without its optimizer, for `make bench-overload`.
 *
 *   overload [SECONDS]
 *
 * Three kinds of load, each of which is full at a known rate: a handler that sleeps on the blocking
 * pool, a provider that serves a few at a time, a handler that computes on the loop. Requests come
 * at random times at 0.5 to 3 times that rate, from many clients that do not wait for each other. A
 * row counts SECONDS after a time to settle. "good" are answers of 200 a second within the patience
 * of their client, ten times the work itself; the times are those of all answers of 200. Servers and
 * the provider run in processes of their own. Nothing is judged here. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <neurohttp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 320, SAMPLES_MAX = 1 << 16, SETTLE_MS = 3000 };
enum { SLOW, UPSTREAM, CPU };

static const struct {
    const char *name;
    int work_ms; /* of one request */
    int at_once; /* requests that are worked on together */
} kinds[] = {
    {"slow handler", 20, 4},
    {"slow upstream", 80, 16},
    {"computing handler", 5, 1},
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void must(nh_status status) {
    if (status == NH_OK) return;
    fprintf(stderr, "overload: %s\n", nh_last_error_message());
    exit(1);
}

static uint64_t ns_of(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t now_ns(void) {
    return ns_of(CLOCK_MONOTONIC);
}

static void sleep_until(uint64_t at_ns) {
    struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000u),
                          .tv_nsec = (long)(at_ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void thread(void *(*body)(void *), void *argument) {
    pthread_attr_t attributes;
    pthread_t id;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&id, &attributes, body, argument) != 0) die("pthread_create");
    pthread_attr_destroy(&attributes);
}

/* One message with a Content-Length; its status or 0. A request has the status 1. */
static int read_message(int fd) {
    char text[16384];
    size_t len = 0, whole = 0;
    while (whole == 0 || len < whole) {
        ssize_t got = read(fd, text + len, sizeof text - 1 - len);
        if (got <= 0) return 0;
        len += (size_t)got;
        text[len] = 0;
        char *end = strstr(text, "\r\n\r\n");
        if (whole == 0 && end != NULL) {
            char *length = strcasestr(text, "content-length:");
            size_t body = length != NULL && length < end ? strtoul(length + 15, NULL, 10) : 0;
            whole = (size_t)(end - text) + 4 + body;
            if (whole >= sizeof text) return 0;
        }
    }
    return strncmp(text, "HTTP/1.1 ", 9) == 0 ? atoi(text + 9) : 1;
}

static bool write_all(int fd, const char *text, size_t len) {
    while (len > 0) {
        ssize_t put = send(fd, text, len, MSG_NOSIGNAL);
        if (put <= 0) return false;
        text += put;
        len -= (size_t)put;
    }
    return true;
}

/* The provider: a place for `at_once`, everybody else waits. */

static sem_t places;

static void *provide(void *argument) {
    static const char body[] =
        "{\"id\":\"1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{"
        "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":"
        "\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}";
    int fd = (int)(intptr_t)argument;
    char answer[1024];
    int len = snprintf(answer, sizeof answer,
                       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       sizeof body - 1, body);
    while (read_message(fd) == 1) {
        sem_wait(&places);
        usleep((useconds_t)kinds[UPSTREAM].work_ms * 1000);
        sem_post(&places);
        if (!write_all(fd, answer, (size_t)len)) break;
    }
    close(fd);
    return NULL;
}

static void provide_for_all(int tell) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    sem_init(&places, 0, (unsigned)kinds[UPSTREAM].at_once);
    if (bind(listener, (struct sockaddr *)&address, len) != 0 || listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) != 0)
        die("listen");
    int port = ntohs(address.sin_port);
    if (write(tell, &port, sizeof port) != sizeof port) die("write");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0) thread(provide, (void *)(intptr_t)fd);
    }
}

/* The server. */

static nh_status sleeps(nh_request *request, nh_response *response, void *user_data) {
    (void)request, (void)user_data;
    usleep((useconds_t)kinds[SLOW].work_ms * 1000);
    return nh_response_send(response, 200, "text/plain", "done", NH_ZERO_TERMINATED);
}

static nh_status computes(nh_request *request, nh_response *response, void *user_data) {
    (void)request, (void)user_data;
    uint64_t end = ns_of(CLOCK_THREAD_CPUTIME_ID) + (uint64_t)kinds[CPU].work_ms * 1000000u;
    while (ns_of(CLOCK_THREAD_CPUTIME_ID) < end) continue;
    return nh_response_send(response, 200, "text/plain", "done", NH_ZERO_TERMINATED);
}

static int serve(int tell, bool optimizes, int provider_port) {
    char config[1024];
    nh_server_options options;
    nh_server *server = NULL;
    snprintf(config, sizeof config,
             "[server]\nblocking_threads = %d\n[optimizer]\nenable = %s\n[cache]\nenable = false\n"
             "[firewall]\nenable = false\n[log]\nlevel = \"error\"\n"
             "[[provider]]\nname = \"p\"\nkind = \"openai\"\napi_key = \"k\"\n"
             "base_url = \"http://127.0.0.1:%d/v1\"\n",
             kinds[SLOW].at_once, optimizes ? "true" : "false", provider_port);
    nh_server_options_init(&options, sizeof options);
    options.listen = "127.0.0.1:0";
    options.workers = 1;
    options.flags = NH_SERVER_NO_ENV;
    options.config_text = config;
    must(nh_server_new(&options, &server));
    must(nh_server_route(server, "GET", "/slow", NH_ROUTE_BLOCKING, sleeps, NULL, NULL));
    must(nh_server_route(server, "GET", "/compute", 0, computes, NULL, NULL));
    must(nh_server_start(server));
    int port = nh_server_port(server);
    if (write(tell, &port, sizeof port) != sizeof port) die("write");
    must(nh_server_wait(server, -1));
    return 0;
}

/* Starts a process that tells its port. */
static pid_t start(bool is_provider, bool optimizes, int *port) {
    int ends[2];
    if (pipe(ends) != 0) die("pipe");
    fflush(stdout);
    pid_t id = fork();
    if (id < 0) die("fork");
    if (id == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (is_provider) provide_for_all(ends[1]);
        exit(serve(ends[1], optimizes, *port));
    }
    close(ends[1]);
    if (read(ends[0], port, sizeof *port) != sizeof *port) exit(1);
    close(ends[0]);
    return id;
}

static void end(pid_t id) {
    kill(id, SIGKILL);
    waitpid(id, NULL, 0);
}

/* The clients. */

static struct {
    int port, kind;
    double gap_ns; /* mean between two requests of one client */
    uint64_t from_ns, until_ns;
} plan;
static uint32_t took_us[SAMPLES_MAX];
static atomic_uint answered, refused, failed, left;

static void *client(void *argument) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)plan.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    unsigned seed = (unsigned)(uintptr_t)argument * 7919u + 1;
    int fd = -1, on = 1;
    double at = (double)now_ns();
    for (;;) {
        at += -log((rand_r(&seed) + 1.0) / (RAND_MAX + 2.0)) * plan.gap_ns;
        if ((uint64_t)at >= plan.until_ns) break;
        /* A request whose time has passed while the last one was waiting is not made up for. */
        if ((uint64_t)at < now_ns()) continue;
        sleep_until((uint64_t)at);
        char text[512], body[256];
        int body_len = 0, len;
        if (plan.kind == UPSTREAM) {
            body_len = snprintf(body, sizeof body,
                                "{\"model\":\"p/m\",\"messages\":[{\"role\":\"user\",\"content\":"
                                "\"%u %u\"}]}",
                                (unsigned)(uintptr_t)argument, rand_r(&seed));
            len = snprintf(text, sizeof text,
                           "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                           "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                           body_len, body);
        } else {
            len = snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
                           plan.kind == SLOW ? "slow" : "compute");
        }
        if (fd < 0) {
            fd = socket(AF_INET, SOCK_STREAM, 0);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
        }
        uint64_t sent = now_ns();
        int status = write_all(fd, text, (size_t)len) ? read_message(fd) : 0;
        uint64_t got = now_ns();
        if (status == 0) {
            close(fd);
            fd = -1;
        }
        /* Whoever was asked within the time counts, also when the answer comes after it. */
        if (sent < plan.from_ns) continue;
        if (status == 200) {
            unsigned place = atomic_fetch_add(&answered, 1);
            if (place < SAMPLES_MAX) took_us[place] = (uint32_t)((got - sent) / 1000);
        } else {
            atomic_fetch_add(status == 503 ? &refused : &failed, 1);
        }
    }
    if (fd >= 0) close(fd);
    atomic_fetch_sub(&left, 1);
    return NULL;
}

static int by_time(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void row(int kind, bool optimizes, int port, double factor, int seconds) {
    double full = kinds[kind].at_once * 1000.0 / kinds[kind].work_ms;
    uint32_t patience_us = (uint32_t)kinds[kind].work_ms * 10000u;
    plan.port = port;
    plan.kind = kind;
    plan.gap_ns = CLIENTS * 1e9 / (full * factor);
    plan.from_ns = now_ns() + SETTLE_MS * 1000000ull;
    plan.until_ns = plan.from_ns + (uint64_t)seconds * 1000000000u;
    answered = refused = failed = 0;
    left = CLIENTS;
    for (uintptr_t n = 0; n < CLIENTS; n++) thread(client, (void *)(n + 1));
    while (left > 0) usleep(10000);
    unsigned count = answered < SAMPLES_MAX ? answered : SAMPLES_MAX, good = 0;
    qsort(took_us, count, sizeof *took_us, by_time);
    while (good < count && took_us[good] <= patience_us) good++;
    printf("%-18s %-8s %4.1fx %8.0f %10.1f %10.1f %10.0f %8u\n", kinds[kind].name,
           optimizes ? "with" : "without", factor, (double)good / seconds,
           count > 0 ? took_us[count / 2] / 1000.0 : 0.0,
           count > 0 ? took_us[(size_t)count * 99 / 100] / 1000.0 : 0.0,
           (double)refused / seconds, (unsigned)failed);
    fflush(stdout);
}

int main(int argc, char **argv) {
    static const double factors[] = {0.5, 1, 1.5, 2, 3};
    int seconds = argc > 1 ? atoi(argv[1]) : 4;
    if (seconds < 1) {
        fprintf(stderr, "usage: overload [SECONDS]\n");
        return 1;
    }
    printf("%-18s %-8s %5s %8s %10s %10s %10s %8s\n", "load", "optim.", "asked", "good/s", "p50 ms",
           "p99 ms", "refused/s", "failed");
    for (int kind = SLOW; kind <= CPU; kind++)
        for (int optimizes = 0; optimizes <= 1; optimizes++) {
            int provider_port = 1;
            pid_t upstream = kind == UPSTREAM ? start(true, false, &provider_port) : 0;
            int port = provider_port;
            pid_t server = start(false, optimizes, &port);
            for (size_t n = 0; n < sizeof factors / sizeof *factors; n++)
                row(kind, optimizes, port, factors[n], seconds);
            end(server);
            if (upstream > 0) end(upstream);
        }
    return 0;
}
