/* own_loop.c: the server inside the program's own poll loop, without a thread.
 *
 *   ./own_loop 8080
 *   curl http://127.0.0.1:8080/ticks
 *   curl -N http://127.0.0.1:8080/v1/chat -d '{"prompt": "one two three", "stream": true}'
 *   then type lines: each is printed back
 *
 * The program waits for three things in one poll(2): its standard input, its own clock, and the
 * server's descriptor, which is readable while the server has work or a timer of it is due.
 * Handlers run inside nh_server_poll, on this thread: what they share with the loop needs no lock.
 */
#define _POSIX_C_SOURCE 200809L
#include <neurohttp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 100 };

static nh_server *server;
static unsigned long ticks; /* no lock: the loop and the handler are one thread */

static void on_signal(int number)
{
    (void)number;
    nh_server_stop(server); /* makes the descriptor readable */
}

static void check(nh_status status, const char *what)
{
    if (status == NH_OK)
        return;
    fprintf(stderr, "own_loop: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

static nh_status tell_ticks(nh_request *request, nh_response *response, void *user_data)
{
    char text[64];

    (void)request;
    (void)user_data;
    snprintf(text, sizeof text, "%lu ticks\n", ticks);
    return nh_response_send(response, 200, "text/plain", text, NH_ZERO_TERMINATED);
}

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Gives what was typed back. Returns -1, which poll ignores, once there is no more. */
static int take_input(int fd)
{
    char text[4096];
    ssize_t count = read(fd, text, sizeof text);

    if (count <= 0)
        return -1;
    fwrite(text, 1, (size_t)count, stdout);
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    struct pollfd watched[2] = {{STDIN_FILENO, POLLIN, 0}, {-1, POLLIN, 0}};
    nh_server_options options;
    nh_status status = NH_OK;
    char listen[64];
    long next_tick;

    snprintf(listen, sizeof listen, "127.0.0.1:%s", argc > 1 ? argv[1] : "8080");
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    check(nh_server_new(&options, &server), "new");
    check(nh_server_route(server, "GET", "/ticks", 0, tell_ticks, NULL, NULL), "/ticks");
    check(nh_server_attach(server, &watched[1].fd), "attach");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);

    next_tick = now_ms() + TICK_MS;
    while (status != NH_ERR_CLOSED) {
        long left = next_tick - now_ms();

        if (left <= 0) {
            ticks++;
            next_tick += TICK_MS;
            continue;
        }
        poll(watched, 2, (int)left); /* a signal interrupts it: the next turn sees the stop */
        if (watched[0].revents != 0)
            watched[0].fd = take_input(watched[0].fd);
        status = nh_server_poll(server, 0, NULL); /* cheap when nothing is due */
        if (status != NH_ERR_CLOSED)
            check(status, "poll");
    }
    nh_server_free(server);
    return 0;
}
