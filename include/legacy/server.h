/* The server: the host owns the struct, the library runs it and keeps its counters up to date. */
#ifndef AIONIC_SERVER_H
#define AIONIC_SERVER_H

#include <stdint.h>
#include <signal.h>
#include <pthread.h>
#include "config.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A server. Read port, running, active_connections and stats as you like; leave the members marked
 *  private alone. Must stay where it is from server_init to server_cleanup. */
typedef struct Server {
    int server_fd;                    /**< listening socket, -1 after cleanup */
    uint16_t port;                    /**< the real one, also when 0 was asked for */
    int thread_count;
    void *thread_pool;                /**< private */
    void *connection_pool;            /**< private */
    void *request_queue;              /**< private */
    int max_connections;
    int active_connections;
    int *epoll_fds;                   /**< private */
    pthread_t thread;                 /**< private */
    pthread_t reaper_thread;          /**< private */
    volatile sig_atomic_t running;    /**< 1 between start and stop; a signal handler may set it to 0 */
    struct {
        uint64_t total_requests;
        uint64_t total_responses;
        uint64_t bytes_sent;
        uint64_t bytes_received;
        double avg_response_time;     /**< milliseconds, mean over all responses */
    } stats;
} Server;

/** Prepares *server (which may be uninitialised): binds and listens on all IPv4 addresses, registers
 *  the built-in pages, starts the firewall. Copies what it needs of *config.
 *  Returns 0, or -1 with nothing left open and server_fd -1. */
int server_init(Server *server, const Config *config);

/** Serves from threads of the library's own; returns 0 at once, -1 on failure. */
int server_start(Server *server);

/** Kept for hosts that pump: accepts what is pending and returns without waiting. 0, or -1. */
int server_process_events(Server *server);

/** Finishes the requests in flight and ends the threads. The listening socket stays open until
 *  server_cleanup. Returns 0; harmless twice or on a server that never started. */
int server_stop(Server *server);

/** Closes the socket and frees what hangs off the struct. Harmless twice. */
void server_cleanup(Server *server);

/** Reads one request from a connected socket and answers it. 0: keep the connection, -1: close it. */
int server_handle_request(Server *server, int client_fd);

/** Sends all of the bytes and counts them. 0 or -1. */
int server_send_response(Server *server, int client_fd, const char *response, size_t length);

#ifdef __cplusplus
}
#endif

#endif
