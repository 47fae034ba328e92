/* Routes, middleware and the built-in pages. One table for the process. */
#ifndef AIONIC_ROUTER_H
#define AIONIC_ROUTER_H

#include <pthread.h>
#include "parser.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HASH_TABLE_SIZE 256

typedef enum {
    ROUTE_ERROR_NONE,
    ROUTE_ERROR_MEMORY,
    ROUTE_ERROR_INVALID_PARAM,
    ROUTE_ERROR_NOT_FOUND,
    ROUTE_ERROR_INTERNAL
} RouteError;

/** Runs before the route is looked up, on a thread that may block. Non-zero ends the request as a
 *  failure; response->data ends it with that answer; otherwise it goes on. */
typedef int (*MiddlewareFunc)(HTTPRequest *request, RouteResponse *response);

typedef struct Route {
    char *path;
    HTTPMethod method;
    int (*handler)(Server *server, HTTPRequest *request, RouteResponse *response);
    struct Route *next;
    int param_count;
    char param_names[8][32];
} Route;

typedef struct {
    Route *buckets[HASH_TABLE_SIZE];
    pthread_rwlock_t lock;
} RouteHashTable;

/** Routes one request without a socket: middleware, exact paths, parameter paths, else a 404 message.
 *  *response is overwritten; data/length then hold the complete message. 0, -1 for NULL, or what a
 *  middleware or handler returned. */
int route_request(Server *server, HTTPRequest *request, RouteResponse *response);

/** Adds a route; `path` is copied. A segment that begins with ':' matches any text (at most 8 of them,
 *  names up to 31 bytes). The latest registration of a path and method wins. Before the start or while
 *  serving. 0 or -1. */
int register_route(const char *path, HTTPMethod method,
                   int (*handler)(Server *server, HTTPRequest *request, RouteResponse *response));

/** Adds the built-in pages. server_init calls it; repeating it changes nothing. */
void init_routes(void);

/** Empties the table. */
void router_init(void);

/** Frees the table. It may be used again after init_routes. Middleware stays. */
void router_cleanup(void);

/** Appends a middleware; at most 8 in the process. 0 or -1. */
int register_middleware(MiddlewareFunc middleware);

/** Fills a response that the caller has zeroed with a complete JSON error message. 0 or -1. */
int create_error_response(RouteResponse *response, RouteError error, int status_code);

/** Frees data, stream_data and the headers, then zeroes the struct. NULL is ignored. */
void free_route_response(RouteResponse *response);

/* The built-in pages, callable as handlers. The caller zeroes the response. 0 or -1. */
int handle_chat_request(Server *server, HTTPRequest *request, RouteResponse *response);
int handle_stats_request(Server *server, HTTPRequest *request, RouteResponse *response);
int handle_health_request(Server *server, HTTPRequest *request, RouteResponse *response);
int handle_root_request(Server *server, HTTPRequest *request, RouteResponse *response);

#ifdef __cplusplus
}
#endif

#endif
