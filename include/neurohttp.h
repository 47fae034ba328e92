/* neurohttp.h: NeuroHTTP, an HTTP server made for AI traffic, as a library.
 *
 * Generated from src/ffi by cbindgen; do not edit. SPDX-License-Identifier: MIT
 *
 *
 * LINKING
 *
 *     cc server.c $(pkg-config --cflags --libs neurohttp)                the shared library
 *     cc server.c $(pkg-config --cflags --libs --static neurohttp |
 *         sed s/-lneurohttp/-l:libneurohttp.a/)                         the archive
 *
 * The header is C11 and C++17. The library needs Linux, installs no signal handler, prints nothing
 * but its log, and changes nothing of the process. Fork after a server was started is not
 * supported.
 *
 *
 * A COMPLETE SERVER
 *
 *     #include <neurohttp.h>
 *
 *     static nh_status hello(nh_request *request, nh_response *response, void *user_data) {
 *         const char *name = nh_request_param(request, "name", NULL);
 *         (void)user_data;
 *         return nh_response_send(response, 200, "text/plain", name, NH_ZERO_TERMINATED);
 *     }
 *     int main(void) {
 *         nh_server *server = NULL;
 *         if (nh_server_new(NULL, &server) != NH_OK) return 1;
 *         nh_server_route(server, "GET", "/hello/:name", 0, hello, NULL, NULL);
 *         nh_server_run(server);
 *         nh_server_free(server);
 *     }
 *
 * It listens on 127.0.0.1:8080 and serves until nh_server_stop(server), which a signal handler may
 * call. Beside /hello/Ada it has our own routes: /v1/chat/completions, /health and the others.
 *
 *
 * OWNERSHIP WORDS
 *
 * Every comment says with one of these words who has what when:
 *   borrows   your memory is read during the call only
 *   copies    the same, and a copy is kept
 *   takes     it is ours from the call on, whatever the call returns
 *   gives     it is yours; free it with the function that the comment names
 *   lends     it is ours; read it until the named event
 * Memory is freed by the side that made it: no free() on our pointers, no nh_free on yours.
 *
 * Handles are opaque pointers. `_free(NULL)` does nothing. A call that ends a handle also frees it.
 * Names, patterns, keys and header texts are NUL-terminated, at most 64 KiB long. Payloads are
 * pointer and length; NH_ZERO_TERMINATED as the length means strlen. Text we lend is NUL-terminated
 * and its length goes to `*len` unless `len` is NULL. Outputs are written only on success.
 *
 * A callback comes with `user_data` and an `nh_drop` that frees it, or NULL. It is called exactly
 * once, after the last use, also when the registration fails.
 *
 *
 * THREADS
 *
 * An object is used by one thread at a time; functions that take it as `const` may overlap. What
 * departs from that is tagged:
 *   [any-thread]    from any thread, at any time in the object's life
 *   [loop-thread]   a callback that runs on a thread of the server's loop: it must not block
 *   [signal-safe]   also in a signal handler; nh_server_stop alone is
 * A function that says that it blocks returns NH_ERR_STATE on a loop thread, where it would wait
 * for itself.
 *
 *
 * ERRORS
 *
 * A failing call returns a negative nh_status (or NULL, or 0, as its comment says) and leaves the
 * details in this thread's nh_last_error_message. Besides what a comment lists, every function may
 * return NH_ERR_INVALID_ARGUMENT (NULL, or a handle that was freed, as far as that can be seen) and
 * NH_ERR_PANIC (a fault inside the library, which was caught). A value that is merely not there,
 * such as a header, is NULL without an error. Nothing fails silently.
 *
 *
 * VERSIONS
 *
 * Source: semantic versions, NH_VERSION_MAJOR and its kin, nh_version() at run time. Binary:
 * NH_ABI_VERSION, the number in the soname. Names, numbers and meanings stay; structs of options
 * carry their size and grow at their end. "Since" names the first release that has a function.
 */

#ifndef NEUROHTTP_H
#define NEUROHTTP_H

#include <stddef.h>
#include <stdint.h>

/** As the length of a payload: it is text that ends before its first NUL. */
#define NH_ZERO_TERMINATED SIZE_MAX

/**
 * The version of the source that this header belongs to.
 */
#define NH_VERSION_MAJOR 1u

/**
 * Grows with every release that adds something.
 */
#define NH_VERSION_MINOR 0u

/**
 * Grows with every release that only mends something.
 */
#define NH_VERSION_PATCH 0u

/**
 * The binary interface that this header describes: the number in the library's soname. It
 * changes when something is removed or takes on another meaning, never when something is added.
 */
#define NH_ABI_VERSION 1u

/**
 * Severity of a log line: something failed that should not.
 */
#define NH_LOG_ERROR 1

/**
 * Severity of a log line: something is not as it should be.
 */
#define NH_LOG_WARN 2

/**
 * Severity of a log line: what the server does.
 */
#define NH_LOG_INFO 3

/**
 * Severity of a log line: how it does it.
 */
#define NH_LOG_DEBUG 4

/**
 * Severity of a log line: every step.
 */
#define NH_LOG_TRACE 5

/**
 * A flag of nh_server_options: neither overrides nor keys of providers nor proxies are read from
 * the environment. A value that says "env:NAME" still is.
 */
#define NH_SERVER_NO_ENV 1u

/**
 * A flag of nh_server_options: only the host's routes, none of ours (/health, /v1/... and so on).
 */
#define NH_SERVER_NO_BUILTINS 2u

/**
 * A flag of nh_server_route: the handler may block, so it runs on the pool.
 */
#define NH_ROUTE_BLOCKING 1u

/**
 * A flag of nh_server_route: answers to GET may be kept and given again, to HEAD too, without the
 * handler. What an answer says decides: Cache-Control (no-store, no-cache and private are not
 * kept; s-maxage and max-age say how long), Expires, Vary; without a word of it, [cache] ttl.
 * An answer with Set-Cookie is not kept, one to a request with Authorization only when it says
 * public, s-maxage or must-revalidate. If-None-Match and If-Modified-Since are answered from what
 * is kept; Range, If-Match and If-Unmodified-Since are the handler's. A request to a route of the
 * host with a method that may change the target (not GET, HEAD, OPTIONS, TRACE), answered with
 * 2xx or 3xx, removes what is kept of that target. A stream is kept when nh_stream_end has ended
 * it, and given again as a whole.
 */
#define NH_ROUTE_CACHE 2u

/**
 * What a middleware returns: go on.
 */
#define NH_NEXT 0

/**
 * What a middleware before the handler returns: the response is filled, deferred or streams, go
 * no further.
 */
#define NH_ANSWERED 1

/**
 * A flag of nh_client_options: neither overrides nor keys of providers nor proxies are read from
 * the environment. A value that says "env:NAME" still is.
 */
#define NH_CLIENT_NO_ENV 1u

/**
 * Counts of the firewall as one JSON object.
 */
#define NH_FIREWALL_STATS_JSON 0u

/**
 * Counts of the firewall as CSV: lines `metric,value` behind one that says so (RFC 4180).
 */
#define NH_FIREWALL_STATS_CSV 1u

/**
 * The version of the contract between plugins and servers, in nh_plugin and nh_plugin_host. It
 * grows only when a plugin made for an older one can no longer run; additions go to the ends of
 * both structs.
 */
#define NH_PLUGIN_ABI 1u

/**
 * A flag of nh_plugin: `before` may block, so it runs on the pool and every request with it.
 */
#define NH_PLUGIN_BLOCKING 1u

/**
 * Calls models: nh_prompt, nh_chat, nh_chat_stream. Made by nh_client_new, nh_client_open or
 * nh_server_client, freed by nh_client_free.
 *
 * Its functions may be called from any thread at the same time, but nh_client_free. Calls to
 * models block: on a loop thread they return NH_ERR_STATE. A client of a server may outlive it:
 * then it returns NH_ERR_CLOSED.
 */
typedef struct nh_client nh_client;

/**
 * An answer that was put off with nh_response_defer. Exactly one of nh_deferred_send,
 * nh_deferred_done and nh_deferred_free ends it; the request is lent until then. One thread at a
 * time uses it, any thread may. It may outlive its server: then it returns NH_ERR_CLOSED.
 */
typedef struct nh_deferred nh_deferred;

/**
 * One piece of a streamed answer. Lent during the callback.
 */
typedef struct nh_delta nh_delta;

/**
 * What a model of the host is asked. Lent to nh_generate_fn until it returns; when the
 * generation was deferred, until nh_generation_finish or nh_generation_fail has returned. It does
 * not change, so any number of threads may read it; what its functions lend lives as long.
 */
typedef struct nh_generate nh_generate;

/**
 * The answer of a model of the host in the making. Valid until nh_generate_fn returns; when it
 * was deferred, until nh_generation_finish or nh_generation_fail has ended it. One thread at a
 * time uses it, any thread may. It may outlive its server: then it returns NH_ERR_CANCELLED.
 */
typedef struct nh_generation nh_generation;

/**
 * A plugin in a server, as the plugin sees it: a member of nh_plugin_host.
 */
typedef struct nh_plugin_context nh_plugin_context;

/**
 * The whole answer of a model. Given by nh_prompt, nh_chat and nh_chat_stream, freed by
 * nh_reply_free. It does not change, so any number of threads may read it; what its functions
 * lend lives until it is freed. It may outlive its client.
 */
typedef struct nh_reply nh_reply;

/**
 * A request. Lent until its handler has returned and every deferred answer and stream of it is
 * finished: it survives the connection. What its functions lend lives as long as it does.
 *
 * One thread at a time uses it; the functions here only read, so they may overlap.
 */
typedef struct nh_request nh_request;

/**
 * A response in the making. Lent until the handler or middleware returns, one of a deferred
 * answer until that is ended. One thread at a time uses it.
 *
 * After nh_response_defer or nh_response_stream it can no longer be changed: NH_ERR_STATE.
 */
typedef struct nh_response nh_response;

/**
 * A server: made by nh_server_new, freed by nh_server_free. Any number may live in one process.
 *
 * It is new until nh_server_start or nh_server_run, serves until nh_server_stop, then drains:
 * open requests are answered, new ones are not taken. It is started once. A call out of order
 * returns NH_ERR_STATE. Handles of streams and deferred answers may outlive it.
 *
 * All its functions but nh_server_free may be called from any thread at the same time.
 */
typedef struct nh_server nh_server;

/**
 * The body of a response that is sent while it is made. nh_stream_end or nh_stream_abort ends
 * it; the request is lent until then. It may outlive its server: then it returns NH_ERR_CLOSED.
 *
 * Its functions may be called from any thread, writes of several threads too (each is whole);
 * but nothing after nh_stream_end or nh_stream_abort has begun elsewhere, except inside `ready`,
 * where the handle stays valid until the callback returns.
 */
typedef struct nh_stream nh_stream;

/**
 * One text on its way. Lent to nh_text_hook until it returns.
 */
typedef struct nh_text_edit nh_text_edit;

/**
 * What a call came to: NH_OK, or one of the negative NH_ERR_ numbers. Numbers are permanent, new
 * ones are added; take any other negative number for a failure too.
 */
typedef int32_t nh_status;

/**
 * Takes one log line: its severity (NH_LOG_), its text without time and line end, and the
 * length of that. Lends `message`, NUL-terminated and without control characters, during the
 * call. Called on any thread, on several at once, so it must not block for long; what it logs
 * itself by calling the library is dropped.
 * [any-thread]   Since 1.0.
 */
typedef void (*nh_log_fn)(int32_t level, const char *message, size_t len, void *user_data);

/**
 * Frees the `user_data` of a callback. Called exactly once, after the last call that uses it:
 * when the registration fails, when the callback is replaced or removed, or when what it was
 * registered with is freed; on the thread where that happens. It must not call back into what
 * it was registered with.
 */
typedef void (*nh_drop)(void *user_data);

/**
 * What a server is made with. Fill it with nh_server_options_init, then set what differs. Zero
 * is the default in every field.
 */
typedef struct nh_server_options {
    /**
     * Set by nh_server_options_init: the size of this struct as your compiler knows it.
     */
    size_t struct_size;
    /**
     * The configuration file: TOML, or the old grammar when its name ends in ".conf".
     * NULL: none.
     */
    const char *config_file;
    /**
     * Configuration as TOML text, over that of the file. NULL: none.
     */
    const char *config_text;
    /**
     * Where to listen, such as "127.0.0.1:8080", "[::]:80", "unix:/run/app.sock", or several
     * with commas. Port 0 picks a free one. NULL: what the configuration says, else
     * "127.0.0.1:8080".
     */
    const char *listen;
    /**
     * How many threads serve connections. 0: what the configuration says, else one per core.
     */
    uint32_t workers;
    /**
     * NH_SERVER_ flags, or 0.
     */
    uint32_t flags;
    /**
     * Takes the log lines. NULL: the configuration's file, else standard error.
     */
    nh_log_fn log;
    /**
     * Passed to `log`.
     */
    void *log_user_data;
    /**
     * Frees `log_user_data` when the server is freed, or when nh_server_new fails. NULL: nobody
     * does.
     */
    nh_drop log_drop;
} nh_server_options;

/**
 * Answers one request: fills `response`, or defers it, or begins a stream. Both are lent until
 * it returns; the request longer, until every deferred answer and stream of it is finished.
 *
 * What it returns: NH_OK; when nothing was filled the answer is 204. Anything else: the client
 * gets 500, and the status and this thread's last error are logged. After nh_response_defer or
 * nh_response_stream it is ignored.
 *
 * It runs on a loop, which serves nobody else meanwhile, and must not block; with
 * NH_ROUTE_BLOCKING on a thread of the pool, where it may. Several run at once. It may call
 * everything but what blocks (on a loop) and nh_server_free. C++ exceptions and longjmp must not
 * leave it: an exception ends the process.
 * [loop-thread], with NH_ROUTE_BLOCKING on a pool thread.   Since 1.0.
 */
typedef nh_status (*nh_handler)(nh_request *request,
                                nh_response *response,
                                void *user_data);

/**
 * Looks at one request on its way to its handler, or at one response on its way out. Both are
 * lent until it returns.
 *
 * What it returns: NH_NEXT; before the handler also NH_ANSWERED. Anything else, such as a
 * negative nh_status, answers 500 and is logged. After the handler everything but NH_NEXT is
 * only logged.
 *
 * It runs on a loop and must not block; several run at once. It may call everything but what
 * blocks and nh_server_free. C++ exceptions and longjmp must not leave it: an exception ends the
 * process.
 * [loop-thread]   Since 1.0.
 */
typedef int32_t (*nh_middleware)(nh_request *request,
                                 nh_response *response,
                                 void *user_data);

/**
 * Tells that a stream takes more (NH_OK), or that nobody listens any more (NH_ERR_CLOSED). Runs
 * on the stream's loop, so it must not block; it may write to `stream` and end it. It may run
 * before the write that got NH_ERR_WOULD_BLOCK has returned. `stream` is valid until it returns,
 * whoever ends it elsewhere.
 * [loop-thread]   Since 1.0.
 */
typedef void (*nh_ready_fn)(nh_stream *stream, nh_status status, void *user_data);

/**
 * What a client is made with. Fill it with nh_client_options_init, then set what differs. Zero
 * is the default in every field.
 */
typedef struct nh_client_options {
    /**
     * Set by nh_client_options_init: the size of this struct as your compiler knows it.
     */
    size_t struct_size;
    /**
     * The configuration file: TOML, or the old grammar when its name ends in ".conf".
     * NULL: none.
     */
    const char *config_file;
    /**
     * Configuration as TOML text, over that of the file. NULL: none.
     */
    const char *config_text;
    /**
     * NH_CLIENT_ flags, or 0.
     */
    uint32_t flags;
    /**
     * Must be 0.
     */
    uint32_t reserved;
    /**
     * Takes the log lines. NULL: the configuration's file, else standard error.
     */
    nh_log_fn log;
    /**
     * Passed to `log`.
     */
    void *log_user_data;
    /**
     * Frees `log_user_data` when the client is freed, or when nh_client_open fails. NULL: nobody
     * does.
     */
    nh_drop log_drop;
} nh_client_options;

/**
 * Takes one piece of an answer, on the thread that called nh_chat_stream. Returns 0 to go on;
 * anything else cancels: the provider's connection is closed and nh_chat_stream returns
 * NH_ERR_CANCELLED. It may block, which slows the provider down, and call everything but
 * nh_client_free of its client. C++ exceptions and longjmp must not leave it: an exception ends
 * the process.
 * Since 1.0.
 */
typedef int32_t (*nh_delta_fn)(const nh_delta *delta, void *user_data);

/**
 * Answers one request to a model of the host: says the answer with nh_generation_text and its
 * kin and returns NH_OK, which ends it as nh_generation_finish(generation, NULL) would, unless it
 * was ended before. Or it calls nh_generation_defer, keeps `generation` and returns: then what it
 * returns is ignored, and any thread goes on.
 *
 * When it returns anything else the client gets 500, or the dialect's error event once the
 * stream has begun, and the status and this thread's last error are logged; nh_generation_fail
 * says more.
 *
 * It runs on a thread of the pool (`server.blocking_threads`) and may block; several run at once.
 * It may call everything but nh_server_free and nh_server_wait of its server. C++ exceptions and
 * longjmp must not leave it: an exception ends the process.
 * Since 1.0.
 */
typedef nh_status (*nh_generate_fn)(const nh_generate *request,
                                    nh_generation *generation,
                                    void *user_data);

/**
 * Looks at one text and edits it if it wants. Returns 0 to go on; anything else refuses.
 *
 * It runs on a loop and must not block; several run at once. It may call everything but what
 * blocks and nh_server_free. C++ exceptions and longjmp must not leave it: an exception ends the
 * process.
 * [loop-thread]   Since 1.0.
 */
typedef int32_t (*nh_text_hook)(nh_text_edit *edit, void *user_data);

/**
 * What a server hands to a plugin: who it is there, and every function that it may call. Lent
 * until the plugin's `fini` has returned, to all its threads. The members called nh_… are the
 * functions of that name; those called plugin_… are for plugins alone and take `plugin`.
 *
 * It grows at its end: a plugin that uses a member added after the first release compares
 * `struct_size` first.
 */
typedef struct nh_plugin_host {
    /**
     * The size of this table as the server knows it.
     */
    size_t struct_size;
    /**
     * NH_PLUGIN_ABI of the server.
     */
    uint32_t abi;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * This plugin in this server.
     */
    nh_plugin_context *plugin;
    /**
     * The server; lent as the table is.
     */
    nh_server *server;
    /**
     * Writes a line to the server's log, with the plugin's name in front. `level` is an NH_LOG_
     * number. Borrows `text`. [any-thread]
     */
    void (*plugin_log)(nh_plugin_context *plugin, int32_t level, const char *text, size_t len);
    /**
     * Its configuration as TOML text: the table [plugin.NAME], or what nh_plugin_load was given;
     * "" without one. Lends it as long as the table. [any-thread]
     */
    const char *(*plugin_config)(const nh_plugin_context *plugin, size_t *len);
    /**
     * One value of its configuration by its path: "rate", "paths.0", "table.key". A string is
     * given decoded, a number, a boolean or a date as it is written. Borrows `path`, gives
     * `*value`, NUL-terminated; free it with nh_free. Its length goes to `*len` unless that is
     * NULL. Returns NH_OK, NH_ERR_NOT_FOUND, or NH_ERR_INVALID_ARGUMENT for a list or a table.
     * [any-thread]
     */
    nh_status (*plugin_config_get)(const nh_plugin_context *plugin,
                                   const char *path,
                                   char **value,
                                   size_t *len);
    /**
     * nh_server_route for this plugin: counted as its time, gone when it is unloaded.
     * NH_ERR_STATE before its `init`. [any-thread]
     */
    nh_status (*plugin_route)(nh_plugin_context *plugin,
                              const char *method,
                              const char *pattern,
                              uint32_t flags,
                              nh_handler handler,
                              void *user_data,
                              nh_drop drop);
    /**
     * Removes a route of this plugin. [any-thread]
     */
    nh_status (*plugin_unroute)(nh_plugin_context *plugin,
                                const char *method,
                                const char *pattern);
    /**
     * One more middleware of this plugin before the handlers, behind its others. [any-thread]
     */
    nh_status (*plugin_before)(nh_plugin_context *plugin,
                               nh_middleware middleware,
                               void *user_data,
                               nh_drop drop);
    /**
     * One more middleware of this plugin behind the answer. [any-thread]
     */
    nh_status (*plugin_after)(nh_plugin_context *plugin,
                              nh_middleware middleware,
                              void *user_data,
                              nh_drop drop);
    /**
     * nh_status_name, which see.
     */
    const char *(*nh_status_name)(nh_status status);
    /**
     * nh_status_message, which see.
     */
    const char *(*nh_status_message)(nh_status status);
    /**
     * nh_last_error_message, which see.
     */
    const char *(*nh_last_error_message)(void);
    /**
     * nh_last_error_http, which see.
     */
    int32_t (*nh_last_error_http)(void);
    /**
     * nh_last_error_retry_after_ms, which see.
     */
    int64_t (*nh_last_error_retry_after_ms)(void);
    /**
     * nh_version, which see.
     */
    const char *(*nh_version)(void);
    /**
     * nh_free, which see.
     */
    void (*nh_free)(void *pointer);
    /**
     * nh_server_stop, which see.
     */
    void (*nh_server_stop)(nh_server *server);
    /**
     * nh_server_port, which see.
     */
    uint16_t (*nh_server_port)(const nh_server *server);
    /**
     * nh_server_stats_json, which see.
     */
    nh_status (*nh_server_stats_json)(const nh_server *server, char **out, size_t *len);
    /**
     * nh_server_client, which see.
     */
    nh_status (*nh_server_client)(nh_server *server, nh_client **out);
    /**
     * nh_request_method, which see.
     */
    const char *(*nh_request_method)(const nh_request *request, size_t *len);
    /**
     * nh_request_path, which see.
     */
    const char *(*nh_request_path)(const nh_request *request, size_t *len);
    /**
     * nh_request_target, which see.
     */
    const char *(*nh_request_target)(const nh_request *request, size_t *len);
    /**
     * nh_request_query, which see.
     */
    const char *(*nh_request_query)(const nh_request *request, const char *name, size_t *len);
    /**
     * nh_request_param, which see.
     */
    const char *(*nh_request_param)(const nh_request *request, const char *name, size_t *len);
    /**
     * nh_request_header, which see.
     */
    const char *(*nh_request_header)(const nh_request *request, const char *name, size_t *len);
    /**
     * nh_request_header_count, which see.
     */
    size_t (*nh_request_header_count)(const nh_request *request);
    /**
     * nh_request_header_at, which see.
     */
    nh_status (*nh_request_header_at)(const nh_request *request,
                                      size_t index,
                                      const char **name,
                                      const char **value);
    /**
     * nh_request_body, which see.
     */
    const void *(*nh_request_body)(const nh_request *request, size_t *len);
    /**
     * nh_request_peer, which see.
     */
    const char *(*nh_request_peer)(const nh_request *request, size_t *len);
    /**
     * nh_request_id, which see.
     */
    const char *(*nh_request_id)(const nh_request *request, size_t *len);
    /**
     * nh_response_status, which see.
     */
    nh_status (*nh_response_status)(nh_response *response, int32_t status_code);
    /**
     * nh_response_header, which see.
     */
    nh_status (*nh_response_header)(nh_response *response,
                                    const char *name,
                                    const char *value);
    /**
     * nh_response_add_header, which see.
     */
    nh_status (*nh_response_add_header)(nh_response *response,
                                        const char *name,
                                        const char *value);
    /**
     * nh_response_get_status, which see.
     */
    int32_t (*nh_response_get_status)(const nh_response *response);
    /**
     * nh_response_get_header, which see.
     */
    const char *(*nh_response_get_header)(const nh_response *response,
                                          const char *name,
                                          size_t *len);
    /**
     * nh_response_get_body, which see.
     */
    const void *(*nh_response_get_body)(const nh_response *response, size_t *len);
    /**
     * nh_response_body, which see.
     */
    nh_status (*nh_response_body)(nh_response *response, const void *data, size_t len);
    /**
     * nh_response_send, which see.
     */
    nh_status (*nh_response_send)(nh_response *response,
                                  int32_t status_code,
                                  const char *content_type,
                                  const void *data,
                                  size_t len);
    /**
     * nh_response_defer, which see.
     */
    nh_status (*nh_response_defer)(nh_response *response, nh_deferred **out);
    /**
     * nh_response_stream, which see.
     */
    nh_status (*nh_response_stream)(nh_response *response, nh_stream **out);
    /**
     * nh_deferred_send, which see.
     */
    nh_status (*nh_deferred_send)(nh_deferred *deferred,
                                  int32_t status_code,
                                  const char *content_type,
                                  const void *data,
                                  size_t len);
    /**
     * nh_deferred_response, which see.
     */
    nh_response *(*nh_deferred_response)(nh_deferred *deferred);
    /**
     * nh_deferred_done, which see.
     */
    nh_status (*nh_deferred_done)(nh_deferred *deferred);
    /**
     * nh_deferred_cancelled, which see.
     */
    int32_t (*nh_deferred_cancelled)(const nh_deferred *deferred);
    /**
     * nh_deferred_free, which see.
     */
    void (*nh_deferred_free)(nh_deferred *deferred);
    /**
     * nh_stream_write, which see.
     */
    nh_status (*nh_stream_write)(nh_stream *stream, const void *data, size_t len);
    /**
     * nh_stream_event, which see.
     */
    nh_status (*nh_stream_event)(nh_stream *stream,
                                 const char *event,
                                 const char *data,
                                 size_t len);
    /**
     * nh_stream_wait, which see.
     */
    nh_status (*nh_stream_wait)(nh_stream *stream, int64_t timeout_ms);
    /**
     * nh_stream_on_ready, which see.
     */
    nh_status (*nh_stream_on_ready)(nh_stream *stream,
                                    nh_ready_fn ready,
                                    void *user_data,
                                    nh_drop drop);
    /**
     * nh_stream_end, which see.
     */
    void (*nh_stream_end)(nh_stream *stream);
    /**
     * nh_stream_abort, which see.
     */
    void (*nh_stream_abort)(nh_stream *stream);
    /**
     * nh_client_cancel, which see.
     */
    void (*nh_client_cancel)(nh_client *client);
    /**
     * nh_client_free, which see.
     */
    void (*nh_client_free)(nh_client *client);
    /**
     * nh_prompt, which see.
     */
    nh_status (*nh_prompt)(nh_client *client,
                           const char *model,
                           const char *prompt,
                           nh_reply **out);
    /**
     * nh_chat, which see.
     */
    nh_status (*nh_chat)(nh_client *client,
                         const char *request_json,
                         size_t len,
                         nh_reply **out);
    /**
     * nh_chat_stream, which see.
     */
    nh_status (*nh_chat_stream)(nh_client *client,
                                const char *request_json,
                                size_t len,
                                nh_delta_fn on_delta,
                                void *user_data,
                                nh_reply **out);
    /**
     * nh_delta_text, which see.
     */
    const char *(*nh_delta_text)(const nh_delta *delta, size_t *len);
    /**
     * nh_delta_json, which see.
     */
    const char *(*nh_delta_json)(const nh_delta *delta, size_t *len);
    /**
     * nh_reply_text, which see.
     */
    const char *(*nh_reply_text)(const nh_reply *reply, size_t *len);
    /**
     * nh_reply_json, which see.
     */
    const char *(*nh_reply_json)(const nh_reply *reply, size_t *len);
    /**
     * nh_reply_model, which see.
     */
    const char *(*nh_reply_model)(const nh_reply *reply, size_t *len);
    /**
     * nh_reply_finish_reason, which see.
     */
    const char *(*nh_reply_finish_reason)(const nh_reply *reply, size_t *len);
    /**
     * nh_reply_usage, which see.
     */
    nh_status (*nh_reply_usage)(const nh_reply *reply,
                                uint64_t *prompt_tokens,
                                uint64_t *completion_tokens);
    /**
     * nh_reply_free, which see.
     */
    void (*nh_reply_free)(nh_reply *reply);
    /**
     * nh_models_json, which see.
     */
    nh_status (*nh_models_json)(nh_client *client, char **out, size_t *len);
    /**
     * nh_crc32, which see.
     */
    uint32_t (*nh_crc32)(const void *data, size_t len);
    /**
     * nh_crc32_update, which see.
     */
    uint32_t (*nh_crc32_update)(uint32_t crc, const void *data, size_t len);
    /**
     * nh_cpu_level, which see.
     */
    const char *(*nh_cpu_level)(void);
    /**
     * nh_crc32c, which see.
     */
    uint32_t (*nh_crc32c)(const void *data, size_t len);
    /**
     * nh_json_find, which see.
     */
    nh_status (*nh_json_find)(const char *json,
                              size_t len,
                              const char *member,
                              const char **value,
                              size_t *value_len);
    /**
     * nh_json_get, which see.
     */
    nh_status (*nh_json_get)(const char *json,
                             size_t len,
                             const char *path,
                             char **value,
                             size_t *value_len);
    /**
     * nh_copy, which see.
     */
    void *(*nh_copy)(void *to, const void *from, size_t len);
    /**
     * nh_server_on_prompt for this plugin: counted as its time, gone when it is unloaded.
     * NH_ERR_STATE before its `init`. [any-thread]
     */
    nh_status (*plugin_on_prompt)(nh_plugin_context *plugin,
                                  nh_text_hook hook,
                                  void *user_data,
                                  nh_drop drop);
    /**
     * nh_server_on_delta for this plugin. [any-thread]
     */
    nh_status (*plugin_on_delta)(nh_plugin_context *plugin,
                                 nh_text_hook hook,
                                 void *user_data,
                                 nh_drop drop);
    /**
     * nh_server_on_reply for this plugin. [any-thread]
     */
    nh_status (*plugin_on_reply)(nh_plugin_context *plugin,
                                 nh_text_hook hook,
                                 void *user_data,
                                 nh_drop drop);
    /**
     * nh_text_edit_text, which see.
     */
    const char *(*nh_text_edit_text)(const nh_text_edit *edit, size_t *len);
    /**
     * nh_text_edit_model, which see.
     */
    const char *(*nh_text_edit_model)(const nh_text_edit *edit, size_t *len);
    /**
     * nh_text_edit_role, which see.
     */
    const char *(*nh_text_edit_role)(const nh_text_edit *edit, size_t *len);
    /**
     * nh_text_edit_replace, which see.
     */
    nh_status (*nh_text_edit_replace)(nh_text_edit *edit, const char *text, size_t len);
    /**
     * nh_count_tokens, which see.
     */
    nh_status (*nh_count_tokens)(const char *encoding,
                                 const char *text,
                                 size_t len,
                                 uint64_t *tokens);
} nh_plugin_host;

/**
 * What an answer came to, for nh_plugin's `on_response`. Lent during the call.
 */
typedef struct nh_plugin_outcome {
    /**
     * The size of this struct as the server knows it.
     */
    size_t struct_size;
    /**
     * The status that was sent.
     */
    int32_t status;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Bytes of the body; 0 for a stream, which only begins.
     */
    uint64_t body_bytes;
    /**
     * From the end of the request's head to the answer, or to the head of a stream, in
     * microseconds.
     */
    uint64_t elapsed_us;
} nh_plugin_outcome;

/**
 * What a plugin is: the struct that its nh_plugin_entry returns. Static, or alive until `fini`
 * has returned. Zero is "nothing" in every field but `struct_size` and `abi`.
 *
 * A plugin is a shared object that links against nothing and exports one function,
 * `const nh_plugin *nh_plugin_entry(const nh_plugin_host *host)`. It is called once for each server
 * that loads the file, must not register anything yet, and returns NULL to refuse. All it calls of
 * this library is in `host`.
 *
 * Every callback gets the `state` that `init` has set. `before` and `after` are as for
 * nh_server_before and nh_server_after; plugins stand behind the middleware before, in the order
 * in which they were loaded, and in front of the middleware after, in reverse. The `on_` functions
 * only look; those of requests and connections run on a loop and must not block. Several calls run
 * at once. C++ exceptions and longjmp must not leave any of them.
 */
typedef struct nh_plugin {
    /**
     * sizeof(nh_plugin) as the plugin was compiled.
     */
    size_t struct_size;
    /**
     * NH_PLUGIN_ABI as the plugin was compiled.
     */
    uint32_t abi;
    /**
     * NH_PLUGIN_ flags, or 0.
     */
    uint32_t flags;
    /**
     * Its name in the log, in /stats and as [plugin.NAME] in the configuration: letters, digits,
     * "-", "_" and ".". NULL: the file's name without directory and extension.
     */
    const char *name;
    /**
     * Its version, for /stats. NULL: none.
     */
    const char *version;
    /**
     * What it does, in one line, for the log. NULL: nothing.
     */
    const char *summary;
    /**
     * Called when it is loaded, after nh_plugin_entry: reads its configuration, registers routes
     * and further middleware, sets `*state`. Anything but NH_OK refuses the plugin; say why with
     * plugin_log. `host` is lent until `fini` has returned.
     */
    nh_status (*init)(const nh_plugin_host *host, void **state);
    /**
     * Called when it is unloaded, after every other call has returned and every `user_data` was
     * freed. It ends what the plugin still has: threads, streams, deferred answers, clients. Not
     * called when `init` has failed.
     */
    void (*fini)(void *state);
    /**
     * Looks at each request before its handler.
     */
    nh_middleware before;
    /**
     * Looks at each answer to a request, and may edit it.
     */
    nh_middleware after;
    /**
     * The server takes connections; at once when the plugin is loaded later.
     */
    void (*on_start)(void *state);
    /**
     * The server stops: the drain begins.
     */
    void (*on_stop)(void *state);
    /**
     * A connection was taken. `peer` is "127.0.0.1:4711" or "unix:", lent during the call.
     */
    void (*on_connect)(const char *peer, size_t len, void *state);
    /**
     * It is closed.
     */
    void (*on_disconnect)(const char *peer, size_t len, void *state);
    /**
     * The head of a request was understood; its body has not been read yet.
     */
    void (*on_request)(const nh_request *request, void *state);
    /**
     * An answer, or the head of a stream, goes out. `request` is NULL when what came was none.
     */
    void (*on_response)(const nh_request *request,
                        const nh_plugin_outcome *outcome,
                        void *state);
} nh_plugin;

/**
 * It worked.
 */
#define NH_OK 0

/**
 * An argument is NULL, malformed or out of range, or a handle has been freed.
 */
#define NH_ERR_INVALID_ARGUMENT (-1)

/**
 * A route pattern cannot be used.
 */
#define NH_ERR_INVALID_PATTERN (-2)

/**
 * It exists already.
 */
#define NH_ERR_DUPLICATE (-3)

/**
 * There is no such thing.
 */
#define NH_ERR_NOT_FOUND (-4)

/**
 * Not possible in this state, or not on this thread.
 */
#define NH_ERR_STATE (-5)

/**
 * The configuration is not valid; the message names file, line and column.
 */
#define NH_ERR_CONFIG (-6)

/**
 * A system call failed.
 */
#define NH_ERR_IO (-7)

/**
 * The address to listen on is taken.
 */
#define NH_ERR_ADDRESS_IN_USE (-8)

/**
 * Out of memory.
 */
#define NH_ERR_MEMORY (-9)

/**
 * A limit was reached.
 */
#define NH_ERR_LIMIT (-10)

/**
 * Nothing more fits now; it will be possible later.
 */
#define NH_ERR_WOULD_BLOCK (-11)

/**
 * The client has gone, or the server has ended.
 */
#define NH_ERR_CLOSED (-12)

/**
 * It was cancelled.
 */
#define NH_ERR_CANCELLED (-13)

/**
 * A deadline passed.
 */
#define NH_ERR_TIMEOUT (-14)

/**
 * The provider failed.
 */
#define NH_ERR_UPSTREAM (-15)

/**
 * Refused by firewall, guard or key check.
 */
#define NH_ERR_DENIED (-16)

/**
 * Not supported by this version or build.
 */
#define NH_ERR_UNSUPPORTED (-17)

/**
 * A plugin failed.
 */
#define NH_ERR_PLUGIN (-18)

/**
 * A fault inside the library was caught. The handle it happened on can be read and freed, but
 * not changed any more.
 */
#define NH_ERR_PANIC (-19)

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library in use, such as "1.0.0". Static text, never NULL. A program runs
 * with any library of the same NH_ABI_VERSION whose version is not lower than its header's.
 * [any-thread]   Since 1.0.
 */
const char *nh_version(void);

/**
 * The binary interface of the library in use: compare it with NH_ABI_VERSION when the library
 * was loaded at run time.
 * [any-thread]   Since 1.0.
 */
uint32_t nh_abi_version(void);

/**
 * The name of a status, such as "NH_ERR_LIMIT"; "unknown" for a number that is none. Static
 * text, never NULL.
 * [any-thread]   Since 1.0.
 */
const char *nh_status_name(nh_status status);

/**
 * A status in one English line. Static text, never NULL.
 * [any-thread]   Since 1.0.
 */
const char *nh_status_message(nh_status status);

/**
 * What went wrong in this thread's last failing call, in detail; "" when none has failed. Never
 * NULL. A call that succeeds leaves it as it is, so ask only after a failure.
 * Lends the text until this thread's next failing call.
 * [any-thread]   Since 1.0.
 */
const char *nh_last_error_message(void);

/**
 * The HTTP status behind this thread's last failure when there is one, such as 429 from a
 * provider or our own 404 for a model; else 0.
 * [any-thread]   Since 1.0.
 */
int32_t nh_last_error_http(void);

/**
 * How long the 429 or 503 behind this thread's last failure asked to wait, in milliseconds;
 * -1 when it did not ask.
 * [any-thread]   Since 1.0.
 */
int64_t nh_last_error_retry_after_ms(void);

/**
 * Frees what a function of this library gives you ("Gives ... free it with nh_free"), and
 * nothing else. NULL is fine.
 * [any-thread]   Since 1.0.
 */
void nh_free(void *pointer);

/**
 * Fills `options` with the defaults. `struct_size` is sizeof of the struct: it tells the library
 * which fields your program was compiled with, so a program built against an older header goes
 * on working. A size that is impossible (under 8, over 4096) leaves the struct as it is, and
 * nh_server_new refuses it without reading on.
 * [any-thread]   Since 1.0.
 */
void nh_server_options_init(nh_server_options *options, size_t struct_size);

/**
 * Makes a server, which does not listen yet. Borrows `options` and all it points to; NULL means
 * all defaults. Takes `log_user_data`, also when it fails. Gives `*out`; free it with
 * nh_server_free.
 * Returns NH_OK, NH_ERR_CONFIG (the message names file, line and column), NH_ERR_UNSUPPORTED for
 * unknown flags and for set fields that this version does not know, NH_ERR_INVALID_ARGUMENT for
 * a struct_size under 8 or over 4096, NH_ERR_IO or NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_new(const nh_server_options *options, nh_server **out);

/**
 * Listens and begins to serve on threads of its own; returns when connections are accepted.
 * Returns NH_OK, NH_ERR_STATE when it was started or stopped before, NH_ERR_ADDRESS_IN_USE or
 * NH_ERR_IO; after the last two it can be started again.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_start(nh_server *server);

/**
 * nh_server_start, then nh_server_wait without a timeout: returns when the server was stopped
 * and is drained. Returns what these two return.
 * Blocks: NH_ERR_STATE on a thread of any server's loop or of this server's pool.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_run(nh_server *server);

/**
 * Begins the drain and returns at once: no new connections, open requests are answered, then the
 * server ends; see `timeouts.drain`. A server that was stopped cannot be started again. Takes no
 * lock, allocates nothing, keeps errno. Harmless when it was stopped before, and on NULL.
 * [any-thread] [signal-safe]   Since 1.0.
 */
void nh_server_stop(nh_server *server);

/**
 * Waits until the server was stopped and is drained, at most `timeout_ms` milliseconds; below 0
 * for ever. Returns NH_OK, NH_ERR_TIMEOUT, NH_ERR_STATE when it was neither started nor stopped,
 * and for an attached server until it is drained, or NH_ERR_PANIC when it has stopped because a
 * fault inside the library could not be mended.
 * Blocks: NH_ERR_STATE on a thread of any server's loop or of this server's pool.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_wait(nh_server *server, int64_t timeout_ms);

/**
 * Frees a server; one that still runs is stopped at once, without a drain. Waits for callbacks
 * that are running, then frees the `user_data` of every route, middleware and of the log. NULL
 * is fine.
 * Called inside one of the server's own callbacks it only begins the stop, as nh_server_stop
 * does, and leaves the message of an NH_ERR_STATE: free it again from outside.
 * Since 1.0.
 */
void nh_server_free(nh_server *server);

/**
 * The port of the server's first TCP listener, also of one that was to pick its own; 0 before
 * the start, without a TCP listener and on NULL.
 * [any-thread]   Since 1.0.
 */
uint16_t nh_server_port(const nh_server *server);

/**
 * Reads the server's configuration anew: file and overlay as they are now, the text, the options and
 * the environment that it was made with, and over them what nh_server_set has set. All of it is checked
 * first; then it is taken up whole, without a break: requests in flight finish under the one before.
 * Routes, middleware, models and hooks stay. What the log says cannot be taken up (`server.workers`,
 * `server.reuse_port`) counts from the next start.
 * Returns NH_OK, or NH_ERR_CONFIG (the message names file, line and column), NH_ERR_IO,
 * NH_ERR_ADDRESS_IN_USE, NH_ERR_PLUGIN, NH_ERR_NOT_FOUND for a plugin's file, NH_ERR_STATE once it was
 * stopped, NH_ERR_TIMEOUT when another change takes too long: then nothing has changed.
 * Blocks: NH_ERR_STATE inside a callback of a server, on its loop or on its pool. The thread that
 * polls an attached server may call it between two polls.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_reload(nh_server *server);

/**
 * Sets one key of the configuration, as `--set` on the command line does: "firewall.burst" to "50",
 * "key.team-a.requests_per_minute" to "60". It stands over everything else and is kept by
 * nh_server_reload. The whole configuration is read anew and checked with it, and taken up as
 * nh_server_reload does. Borrows both texts.
 * Returns what nh_server_reload returns; NH_ERR_CONFIG also for a key that is not known.
 * Blocks: NH_ERR_STATE inside a callback of a server, on its loop or on its pool. The thread that
 * polls an attached server may call it between two polls.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_set(nh_server *server, const char *key, const char *value);

/**
 * The statistics of the server as JSON, as /stats shows them. Gives `*out`, NUL-terminated; free
 * it with nh_free. Its length goes to `*len` unless that is NULL.
 * Returns NH_OK or NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_stats_json(const nh_server *server, char **out, size_t *len);

/**
 * Who is connected, as JSON: {"total", "is_complete", "connections": [{"id", "address", "worker", "since", "idle_ms",
 * "received_bytes", "sent_bytes", "received_per_second", "sent_per_second", "requests", "state", "tls"}]}. `since` is
 * in Unix seconds; bytes a second are the mean since then; `state` is one of "new", "idle", "head", "body", "answering", "streaming", "draining", "closing". At most 10,000 are listed; `is_complete`
 * is false when there are more, or when a worker did not answer within a second. Before the start and after the
 * end nobody is connected. Gives `*out`, NUL-terminated; free it with nh_free. Its length goes to `*len` unless
 * that is NULL.
 * Returns NH_OK, NH_ERR_STATE inside a callback of a server, or NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_connections_json(const nh_server *server,
                                     char **out,
                                     size_t *len);

/**
 * Instead of nh_server_start: listens, but starts no worker threads; the host calls
 * nh_server_poll whenever `*fd` is readable, as it is while there is work or a timer is due.
 * Threads for blocking routes and upkeep start on need. Lends `*fd` until nh_server_free: watch
 * it level-triggered, do nothing else with it.
 * Returns NH_OK, NH_ERR_STATE when it was started, attached or stopped before,
 * NH_ERR_ADDRESS_IN_USE or NH_ERR_IO.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_attach(nh_server *server, int *fd);

/**
 * Does the work of an attached server that is due, waiting for some at most `timeout_ms`
 * milliseconds (0: not at all, below 0: for ever). Handlers and the other callbacks for the loop
 * run inside it, on this thread, which counts as the server's loop thread from then on. How many
 * events it handled goes to `*handled` unless that is NULL; none is NH_OK and 0.
 * Returns NH_OK, NH_ERR_CLOSED once the server was stopped and is drained, or NH_ERR_STATE when
 * it is not attached, when another thread polls it, and inside a callback on a loop.
 * [any-thread], one at a time.   Since 1.0.
 */
nh_status nh_server_poll(nh_server *server, int32_t timeout_ms, uint32_t *handled);

/**
 * Adds a route, before the start or while serving; it beats every route of our own. `method` is
 * a token in upper case, or "*" for any but CONNECT. `pattern` is a path whose segments may be
 * ":name" (one segment, not empty) and, at the end, "*name" (the rest, without its leading slash,
 * may be empty). Static segments win over ":name", this over "*name". A trailing slash makes
 * another path. Copies `method` and `pattern`. Takes `user_data`; `drop` (may be NULL) frees it
 * exactly once, also when this fails.
 * Returns NH_OK, NH_ERR_INVALID_PATTERN, NH_ERR_DUPLICATE (the same shape, whatever the names),
 * NH_ERR_INVALID_ARGUMENT, NH_ERR_UNSUPPORTED for unknown flags, or NH_ERR_LIMIT.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_route(nh_server *server,
                          const char *method,
                          const char *pattern,
                          uint32_t flags,
                          nh_handler handler,
                          void *user_data,
                          nh_drop drop);

/**
 * Removes a route. Requests that have reached it are answered by it; its `user_data` is freed
 * after the last of them. Borrows `method` and `pattern`, which are what it was added with.
 * Returns NH_OK or NH_ERR_NOT_FOUND.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_unroute(nh_server *server, const char *method, const char *pattern);

/**
 * Adds a middleware in front of the handlers, our own routes' too; in order of registration.
 * Before the start or while serving. Takes `user_data`; `drop` (may be NULL) frees it exactly
 * once, also when this fails.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_LIMIT.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_before(nh_server *server,
                           nh_middleware middleware,
                           void *user_data,
                           nh_drop drop);

/**
 * Adds a middleware behind the answer, in reverse order of registration. It sees every answer to
 * a request that could be parsed: 404s, errors, those of a middleware before and deferred ones
 * too, and may edit status, headers and body. Of a stream it sees the head only. Nothing can be
 * deferred here any more. Before the start or while serving. Takes `user_data`; `drop` (may be
 * NULL) frees it exactly once, also when this fails.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_LIMIT.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_after(nh_server *server,
                          nh_middleware middleware,
                          void *user_data,
                          nh_drop drop);

/**
 * The method as received, such as "GET". Lends it; NULL only on NULL.
 * Since 1.0.
 */
const char *nh_request_method(const nh_request *request, size_t *len);

/**
 * The path without the query, percent-decoded and normalized: it begins with a slash and holds
 * no "." and ".." segments. Lends it; NULL only on NULL. Bytes of the client's choice: not always
 * UTF-8.
 * Since 1.0.
 */
const char *nh_request_path(const nh_request *request, size_t *len);

/**
 * The request target as received: path and query, or the absolute form. Lends it; NULL only on
 * NULL.
 * Since 1.0.
 */
const char *nh_request_target(const nh_request *request, size_t *len);

/**
 * The decoded value of a query parameter: the first of that name, "" when it has no value ("?d"),
 * NULL when there is none. "+" is a blank; a broken percent escape stays as it is. Borrows
 * `name`, lends the value. It may hold a NUL (%00): then it is longer than strlen says.
 * Since 1.0.
 */
const char *nh_request_query(const nh_request *request, const char *name, size_t *len);

/**
 * What stands in the path for a ":name" or "*name" of the route's pattern; "" for an empty rest,
 * NULL when the pattern has no such name. Borrows `name` (without ":" or "*"), lends the value,
 * decoded.
 * Since 1.0.
 */
const char *nh_request_param(const nh_request *request, const char *name, size_t *len);

/**
 * The value of a header, NULL when it was not sent. `name` in any case. Repeated fields are
 * joined with ", " (Cookie with "; "). Borrows `name`, lends the value.
 * Since 1.0.
 */
const char *nh_request_header(const nh_request *request, const char *name, size_t *len);

/**
 * How many header fields were received, repeated ones counted each; 0 on NULL.
 * Since 1.0.
 */
size_t nh_request_header_count(const nh_request *request);

/**
 * Name and value of one header field as received, in order of arrival; `index` counts from 0.
 * Lends both. `name` or `value` may be NULL when it is not wanted.
 * Returns NH_OK, or NH_ERR_NOT_FOUND from nh_request_header_count on.
 * Since 1.0.
 */
nh_status nh_request_header_at(const nh_request *request,
                               size_t index,
                               const char **name,
                               const char **value);

/**
 * The body, decoded from its transfer coding. Lends it, never NULL except on NULL; without a
 * body `*len` is 0. A NUL stands behind its last byte, so a body of text can be read as text.
 * Since 1.0.
 */
const void *nh_request_body(const nh_request *request, size_t *len);

/**
 * Who sent the request: "127.0.0.1:4711", "[::1]:4711", or "unix:" for a Unix socket; behind a
 * trusted proxy the client that it names. Lends it; NULL only on NULL.
 * Since 1.0.
 */
const char *nh_request_peer(const nh_request *request, size_t *len);

/**
 * The id of the request: the client's x-request-id when it was sane, else one of ours. It is on
 * the response and in every log line about it. Lends it; NULL only on NULL.
 * Since 1.0.
 */
const char *nh_request_id(const nh_request *request, size_t *len);

/**
 * Sets the status, 200 to 599. Without it a response with a body is 200, one without 204.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_STATE.
 * Since 1.0.
 */
nh_status nh_response_status(nh_response *response, int32_t status_code);

/**
 * Sets a header, in place of all of that name. Copies `name` and `value`. Content-Length,
 * Transfer-Encoding, Keep-Alive, Upgrade and Date are the server's own and refused, as is what
 * could split the response; "Connection: close" is taken as a wish to close.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT, NH_ERR_LIMIT or NH_ERR_STATE.
 * Since 1.0.
 */
nh_status nh_response_header(nh_response *response, const char *name, const char *value);

/**
 * Adds one more header of that name, as Set-Cookie needs; else as nh_response_header.
 * Since 1.0.
 */
nh_status nh_response_add_header(nh_response *response, const char *name, const char *value);

/**
 * The status as the response stands: 0 while nothing has filled it (behind the answer: 204), 200
 * when it has a body and no status was set; NH_ERR_INVALID_ARGUMENT on NULL.
 * Since 1.0.
 */
int32_t nh_response_get_status(const nh_response *response);

/**
 * The value of a header that was set, the first of that name, in any case; NULL when there is
 * none. Borrows `name`. Lends the value as long as the request lives.
 * Since 1.0.
 */
const char *nh_response_get_header(const nh_response *response,
                                   const char *name,
                                   size_t *len);

/**
 * The body as it stands; `*len` is 0 and the pointer not NULL when there is none. Lends it until
 * the response is changed or sent. No NUL follows it: `len` says where it ends.
 * Since 1.0.
 */
const void *nh_response_get_body(const nh_response *response, size_t *len);

/**
 * Sets the body, in place of an earlier one. Copies `data`, which may be NULL when `len` is 0.
 * With 204, 205 and 304 a body is dropped and that is logged.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT, NH_ERR_MEMORY or NH_ERR_STATE.
 * Since 1.0.
 */
nh_status nh_response_body(nh_response *response, const void *data, size_t len);

/**
 * Sets status, Content-Type and body at once; when it fails, none of them. `content_type` NULL
 * leaves what was set. Copies `content_type` and `data`.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT, NH_ERR_MEMORY, NH_ERR_LIMIT or NH_ERR_STATE.
 * Since 1.0.
 */
nh_status nh_response_send(nh_response *response,
                           int32_t status_code,
                           const char *content_type,
                           const void *data,
                           size_t len);

/**
 * Puts the answer off: the handler may return, and any thread answers later. What the response
 * holds so far goes along; `response` itself can no longer be changed. Gives `*out`, which one of
 * nh_deferred_send, nh_deferred_done and nh_deferred_free ends.
 * Returns NH_OK, or NH_ERR_STATE when it was deferred or streams already, and in a middleware
 * after the answer.
 * Since 1.0.
 */
nh_status nh_response_defer(nh_response *response, nh_deferred **out);

/**
 * Sends status and headers as they stand and opens the body, which follows piece by piece; set
 * Content-Type before. `response` can no longer be changed. Gives `*out`, which nh_stream_end or
 * nh_stream_abort ends.
 * Returns NH_OK, or NH_ERR_STATE when it was deferred or streams already, and in a middleware
 * after the answer.
 * Since 1.0.
 */
nh_status nh_response_stream(nh_response *response, nh_stream **out);

/**
 * Answers with status, Content-Type (NULL: what was set) and body, and ends the handle. Copies
 * `content_type` and `data`.
 * Returns NH_OK, or NH_ERR_CLOSED when the client has gone or the server has ended: both end the
 * handle. NH_ERR_INVALID_ARGUMENT, NH_ERR_MEMORY, NH_ERR_LIMIT and NH_ERR_STATE (a stream was
 * begun) leave it as it is.
 * [any-thread]   Since 1.0.
 */
nh_status nh_deferred_send(nh_deferred *deferred,
                           int32_t status_code,
                           const char *content_type,
                           const void *data,
                           size_t len);

/**
 * The response of a deferred answer, to set status, headers and body or to begin a stream; then
 * nh_deferred_done. Lent until the handle is ended. NULL on NULL and on a freed handle.
 * [any-thread]   Since 1.0.
 */
nh_response *nh_deferred_response(nh_deferred *deferred);

/**
 * Sends what the response holds, and ends the handle. After nh_response_stream nothing is sent:
 * the stream lives on.
 * Returns NH_OK, or NH_ERR_CLOSED when the client has gone or the server has ended; both end the
 * handle.
 * [any-thread]   Since 1.0.
 */
nh_status nh_deferred_done(nh_deferred *deferred);

/**
 * 1 when the client has gone or the server has ended, so that nobody waits for the answer, else
 * 0; NH_ERR_INVALID_ARGUMENT on NULL and on a freed handle.
 * [any-thread]   Since 1.0.
 */
int32_t nh_deferred_cancelled(const nh_deferred *deferred);

/**
 * Gives an answer up and frees the handle: the client gets 500. NULL is fine.
 * [any-thread]   Since 1.0.
 */
void nh_deferred_free(nh_deferred *deferred);

/**
 * Appends `data` whole or not at all; it is sent when the client takes it. Copies `data`.
 * Returns NH_OK, NH_ERR_WOULD_BLOCK when the stream's queue is full now, NH_ERR_LIMIT when `data`
 * is larger than the whole queue (64 KiB always fit an empty one), or NH_ERR_CLOSED when the
 * client has gone or the server has ended.
 * [any-thread]   Since 1.0.
 */
nh_status nh_stream_write(nh_stream *stream, const void *data, size_t len);

/**
 * Appends one server-sent event: `event` is its name (NULL: none, a plain message) and must be
 * one line, `data` its text, of which every line becomes a "data:" line. Set Content-Type to
 * "text/event-stream" before the stream begins. Copies both. `data` must be UTF-8.
 * Returns what nh_stream_write returns for the bytes of the whole event, or
 * NH_ERR_INVALID_ARGUMENT.
 * [any-thread]   Since 1.0.
 */
nh_status nh_stream_event(nh_stream *stream,
                          const char *event,
                          const char *data,
                          size_t len);

/**
 * Waits until the stream takes more, at most `timeout_ms` milliseconds; below 0 for ever. After
 * NH_ERR_WOULD_BLOCK: until what was refused fits.
 * Returns NH_OK, NH_ERR_TIMEOUT or NH_ERR_CLOSED.
 * Blocks: NH_ERR_STATE on a thread of any server's loop.
 * [any-thread]   Since 1.0.
 */
nh_status nh_stream_wait(nh_stream *stream, int64_t timeout_ms);

/**
 * Has `ready` called once after each NH_ERR_WOULD_BLOCK, when what was refused fits, and once
 * with NH_ERR_CLOSED when the client has gone or the server ends; not after the stream was ended
 * here. A refusal before the registration counts. Registering again replaces. Takes `user_data`;
 * `drop` (may be NULL) frees it exactly once, after the last call: when it is replaced, when the
 * stream is ended here, or when this fails.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT, or NH_ERR_CLOSED when nobody listens any more: `ready`
 * is then never called.
 * [any-thread]   Since 1.0.
 */
nh_status nh_stream_on_ready(nh_stream *stream,
                             nh_ready_fn ready,
                             void *user_data,
                             nh_drop drop);

/**
 * Ends the body well and frees the handle: what was written is still sent.
 * [any-thread]   Since 1.0.
 */
void nh_stream_end(nh_stream *stream);

/**
 * Cuts the body and frees the handle: the client sees that it is incomplete. What was not sent
 * yet is dropped.
 * [any-thread]   Since 1.0.
 */
void nh_stream_abort(nh_stream *stream);

/**
 * Makes a client with a loop thread of its own. `config_file` and `config_text` are as in
 * nh_client_options; both NULL: the providers whose keys the environment holds, and `echo`, which
 * answers offline. Borrows both. Gives `*out`; free it with nh_client_free.
 * Returns NH_OK, NH_ERR_CONFIG, NH_ERR_IO or NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_client_new(const char *config_file, const char *config_text, nh_client **out);

/**
 * Fills `options` with the defaults. `struct_size` is sizeof of the struct: it tells the library
 * which fields your program was compiled with, so a program built against an older header goes
 * on working. A size that is impossible (under 8, over 4096) leaves the struct as it is, and
 * nh_client_open refuses it without reading on.
 * [any-thread]   Since 1.0.
 */
void nh_client_options_init(nh_client_options *options, size_t struct_size);

/**
 * Makes a client as nh_client_new does. Borrows `options` and all it points to; NULL means all
 * defaults. Takes `log_user_data`, also when it fails. Gives `*out`; free it with nh_client_free.
 * Returns NH_OK, NH_ERR_CONFIG, NH_ERR_UNSUPPORTED for unknown flags and for set fields that this
 * version does not know, NH_ERR_INVALID_ARGUMENT for a struct_size under 8 or over 4096,
 * NH_ERR_IO or NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_client_open(const nh_client_options *options, nh_client **out);

/**
 * Makes a client that shares the server's models, connections, cache and limits. It calls while
 * the server runs. Gives `*out`; free it with nh_client_free, before or after the server.
 * Returns NH_OK.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_client(nh_server *server, nh_client **out);

/**
 * Makes every call of this client in progress return NH_ERR_CANCELLED; later ones are not
 * affected. The requests to the providers are ended too.
 * [any-thread]   Since 1.0.
 */
void nh_client_cancel(nh_client *client);

/**
 * Frees a client and its loop; calls in progress return NH_ERR_CANCELLED. NULL is fine.
 * Since 1.0.
 */
void nh_client_free(nh_client *client);

/**
 * Sends one prompt as a user message and waits for the whole answer. `model` NULL means the
 * default model, `prompt` is UTF-8 text. Borrows both. Gives `*out`; free it with nh_reply_free.
 * Returns what nh_chat returns.
 * Blocks: NH_ERR_STATE on a loop thread.
 * [any-thread]   Since 1.0.
 */
nh_status nh_prompt(nh_client *client,
                    const char *model,
                    const char *prompt,
                    nh_reply **out);

/**
 * Sends an OpenAI chat request and waits for the whole answer; `stream` in it is ignored. Borrows
 * `request_json`. Gives `*out`; free it with nh_reply_free.
 * Returns NH_OK, or: NH_ERR_NOT_FOUND for an unknown model; NH_ERR_INVALID_ARGUMENT for a bad
 * request; NH_ERR_DENIED from firewall, guard and key check; NH_ERR_LIMIT for our limits and a
 * provider's 429; NH_ERR_TIMEOUT; NH_ERR_UPSTREAM when the provider refuses us, fails or answers
 * garbage; NH_ERR_CANCELLED; NH_ERR_CLOSED when the client's server has stopped, NH_ERR_STATE
 * when it was not started. nh_last_error_http tells a provider's status,
 * nh_last_error_retry_after_ms when to try again.
 * Blocks: NH_ERR_STATE on a loop thread.
 * [any-thread]   Since 1.0.
 */
nh_status nh_chat(nh_client *client,
                  const char *request_json,
                  size_t len,
                  nh_reply **out);

/**
 * Sends an OpenAI chat request and has `on_delta` called, on this thread, for each piece of the
 * answer as it comes; `stream` in the request is ignored. Borrows `request_json`; `user_data` is
 * only passed on. Gives `*out`, the pieces put together, unless `out` is NULL; free it with
 * nh_reply_free.
 * Returns what nh_chat returns; NH_ERR_CANCELLED also when `on_delta` said so. After an error the
 * pieces so far are not a whole answer.
 * Blocks: NH_ERR_STATE on a loop thread.
 * [any-thread]   Since 1.0.
 */
nh_status nh_chat_stream(nh_client *client,
                         const char *request_json,
                         size_t len,
                         nh_delta_fn on_delta,
                         void *user_data,
                         nh_reply **out);

/**
 * The text of a delta, "" when it brings none (the first and the last often do not). Lends it
 * until the callback returns; NULL only on NULL.
 * Since 1.0.
 */
const char *nh_delta_text(const nh_delta *delta, size_t *len);

/**
 * A delta as the OpenAI chunk it came in: a JSON object. Lends it until the callback returns;
 * NULL only on NULL.
 * Since 1.0.
 */
const char *nh_delta_json(const nh_delta *delta, size_t *len);

/**
 * The text of the reply's first choice. Lends it until nh_reply_free; NULL only on NULL.
 * Since 1.0.
 */
const char *nh_reply_text(const nh_reply *reply, size_t *len);

/**
 * The whole reply as an OpenAI chat completion object. Lends it until nh_reply_free; NULL only on
 * NULL.
 * Since 1.0.
 */
const char *nh_reply_json(const nh_reply *reply, size_t *len);

/**
 * The model that answered, as its provider names it. Lends it until nh_reply_free; NULL only on
 * NULL.
 * Since 1.0.
 */
const char *nh_reply_model(const nh_reply *reply, size_t *len);

/**
 * Why the reply ended: "stop", "length", "tool_calls" or what the provider said. Lends it until
 * nh_reply_free; NULL only on NULL.
 * Since 1.0.
 */
const char *nh_reply_finish_reason(const nh_reply *reply, size_t *len);

/**
 * How many tokens prompt and answer had; either place may be NULL.
 * Returns NH_OK, or NH_ERR_NOT_FOUND when the provider did not tell.
 * Since 1.0.
 */
nh_status nh_reply_usage(const nh_reply *reply,
                         uint64_t *prompt_tokens,
                         uint64_t *completion_tokens);

/**
 * Frees a reply. NULL is fine.
 * [any-thread]   Since 1.0.
 */
void nh_reply_free(nh_reply *reply);

/**
 * The models as GET /v1/models lists them: JSON. Gives `*out`, NUL-terminated; free it with
 * nh_free. Its length goes to `*len` unless that is NULL.
 * Returns NH_OK, NH_ERR_CLOSED or NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_models_json(nh_client *client, char **out, size_t *len);

/**
 * What was counted as JSON, as nh_server_stats_json tells it of a server: `models` has requests,
 * failures, tokens, latency and time to first token of each model that was asked, `calls` and
 * `cache` the sums. A client of nh_server_client tells its server's. Gives `*out`, NUL-terminated;
 * free it with nh_free. Its length goes to `*len` unless that is NULL.
 * Returns NH_OK, NH_ERR_CLOSED or NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_client_stats_json(nh_client *client, char **out, size_t *len);

/**
 * Takes a model out of service (0) or back into it (anything else), for its server's clients over
 * HTTP too. Calls in progress are not touched. Borrows `model`.
 * Returns NH_OK, NH_ERR_NOT_FOUND or NH_ERR_CLOSED.
 * [any-thread]   Since 1.0.
 */
nh_status nh_model_set_available(nh_client *client, const char *model, int32_t available);

/**
 * Makes a model the one that requests without a model get. Borrows `model`.
 * Returns NH_OK, NH_ERR_NOT_FOUND or NH_ERR_CLOSED.
 * [any-thread]   Since 1.0.
 */
nh_status nh_model_set_default(nh_client *client, const char *model);

/**
 * Removes a model and its aliases; calls in progress end as they would have. Borrows `model`.
 * Returns NH_OK, NH_ERR_NOT_FOUND or NH_ERR_CLOSED.
 * [any-thread]   Since 1.0.
 */
nh_status nh_model_remove(nh_client *client, const char *model);

/**
 * Lets the addresses of a range in: they are never limited nor inspected. `cidr` is a range such as
 * "10.0.0.0/8" or "2001:db8::/32", or one address. It counts for so many seconds, 0: for good.
 * A range that is listed gets the new end. Connections and requests from now on are judged by it.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_LIMIT (a million ranges).
 * [any-thread]   Since 1.0.
 */
nh_status nh_firewall_allow(nh_server *server, const char *cidr, int64_t seconds);

/**
 * Keeps the addresses of a range out: their connections are closed at accept; behind a trusted proxy
 * their requests get 403. `reason` (may be NULL) is kept for the operator. Copies it. `cidr` and
 * `seconds` as for nh_firewall_allow, which wins where both hold an address.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_LIMIT.
 * [any-thread]   Since 1.0.
 */
nh_status nh_firewall_deny(nh_server *server,
                           const char *cidr,
                           int64_t seconds,
                           const char *reason);

/**
 * Takes a range off both lists and lifts the blocks that the firewall has set on addresses in it.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_NOT_FOUND.
 * [any-thread]   Since 1.0.
 */
nh_status nh_firewall_forget(nh_server *server, const char *cidr);

/**
 * What would happen to a request from an address: nothing is counted and nobody is blocked for it.
 * `raw_request` is a whole HTTP/1.1 request, head and body. Gives `*verdict_json`, NUL-terminated;
 * free it with nh_free: {"action":"allow|log|limit|block","score":n,"rule":"...","part":"...",
 * "reason":"..."}, and in "findings" everything that was found.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT for an address or request that cannot be read, or
 * NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_firewall_check(nh_server *server,
                            const char *address,
                            const void *raw_request,
                            size_t len,
                            char **verdict_json);

/**
 * Adds rules: TOML with one [[rule]] each, with `id`, `score`, `parts`, `literals`, `pattern` and
 * `dry_run` (docs/firewall.md shows one). A rule whose id is there is replaced. Compiled
 * here, not on a loop; requests from now on meet all of them or, on an error, none.
 * Returns NH_OK or NH_ERR_INVALID_ARGUMENT; nh_last_error_message then says line, column and reason.
 * [any-thread]   Since 1.0.
 */
nh_status nh_firewall_add_rule(nh_server *server,
                               const char *toml,
                               size_t len);

/**
 * Adds patterns: CSV with lines `pattern,severity`. A pattern is text that is looked for, whatever its
 * case, in every part of a request; in quotes, a doubled quote stands for one. A severity is 1 to 10:
 * 10 blocks alone. Empty lines and those that begin with # are passed over. Compiled and taken up as by
 * nh_firewall_add_rule.
 * Returns NH_OK or NH_ERR_INVALID_ARGUMENT; nh_last_error_message then says line, column and reason.
 * [any-thread]   Since 1.0.
 */
nh_status nh_firewall_add_csv(nh_server *server,
                              const char *csv,
                              size_t len);

/**
 * What was set at run time, to be kept: address lists, blocks in force, rules added to those of the
 * configuration. Gives `*toml`, NUL-terminated text for nh_firewall_load; free it with nh_free.
 * Returns NH_OK or NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_firewall_save(nh_server *server, char **toml);

/**
 * Adds what nh_firewall_save gave, of this server or of another. What has ended since is left out.
 * Returns NH_OK; NH_ERR_INVALID_ARGUMENT, and nh_last_error_message says line, column and reason; or
 * NH_ERR_LIMIT when a list has no room. On an error nothing was added.
 * [any-thread]   Since 1.0.
 */
nh_status nh_firewall_load(nh_server *server,
                           const char *toml,
                           size_t len);

/**
 * What the firewall has counted since the start. `format` is NH_FIREWALL_STATS_JSON or
 * NH_FIREWALL_STATS_CSV. Gives `*text`, NUL-terminated; free it with nh_free.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_firewall_stats(nh_server *server, uint32_t format, char **text);

/**
 * Keeps `len` bytes under `key` for `ttl_s` seconds, in place of what the key held; 0 or less is
 * the configured time ([cache] ttl). They share the bounds of the cache ([cache] max_entries,
 * max_bytes) with the answers of models: what was used longest ago goes first. Copies both. A
 * host's keys never meet anything else in the cache. `value` may be NULL when `len` is 0.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT, or NH_ERR_LIMIT when the value is larger than the cache
 * keeps (a quarter of it, of a large one an eighth of that).
 * [any-thread]   Since 1.0.
 */
nh_status nh_cache_put(nh_server *server,
                       const char *key,
                       const void *value,
                       size_t len,
                       int64_t ttl_s);

/**
 * What `key` holds. Gives `*value`, NUL-terminated; free it with nh_free. Its length goes to
 * `*len` unless that is NULL.
 * Returns NH_OK, NH_ERR_NOT_FOUND (nothing, or its time is over) or NH_ERR_MEMORY.
 * [any-thread]   Since 1.0.
 */
nh_status nh_cache_get(nh_server *server, const char *key, void **value, size_t *len);

/**
 * Removes what `key` holds.
 * Returns NH_OK or NH_ERR_NOT_FOUND.
 * [any-thread]   Since 1.0.
 */
nh_status nh_cache_delete(nh_server *server, const char *key);

/**
 * Empties the cache: the host's entries, and the answers of models and of routes.
 * Returns NH_OK.
 * [any-thread]   Since 1.0.
 */
nh_status nh_cache_clear(nh_server *server);

/**
 * Serves a model of the host's own under `name`, in every API of ours, whole and streaming, over
 * HTTP and to nh_chat of nh_server_client; before the start or while serving. Until the
 * configuration names a default model the first such model is it. Copies `name`. Takes
 * `user_data`; `drop` (may be NULL) frees it exactly once, also when this fails.
 *
 * The timeouts are those of a provider: 60 s to the first piece of a stream, 300 s between two,
 * 600 s in all; a table [[provider]] with kind = "host" sets others.
 * Returns NH_OK, NH_ERR_DUPLICATE when a model has that name, or NH_ERR_INVALID_ARGUMENT.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_model(nh_server *server,
                          const char *name,
                          nh_generate_fn generate,
                          void *user_data,
                          nh_drop drop);

/**
 * The request as an OpenAI chat request, whichever API it came in by: as it was written when by
 * that one. Lends it; NULL only on NULL.
 * [any-thread]   Since 1.0.
 */
const char *nh_generate_json(const nh_generate *request, size_t *len);

/**
 * How many messages the request has, system prompts included; 0 on NULL.
 * [any-thread]   Since 1.0.
 */
size_t nh_generate_message_count(const nh_generate *request);

/**
 * One message: `*role` is "system", "developer", "user", "assistant" or "tool", `*text` its text
 * parts joined, "" when it has none (images and calls of tools stand in the JSON). Lends both;
 * either place may be NULL.
 * Returns NH_OK, NH_ERR_NOT_FOUND beyond the last message, or NH_ERR_INVALID_ARGUMENT.
 * [any-thread]   Since 1.0.
 */
nh_status nh_generate_message(const nh_generate *request,
                              size_t index,
                              const char **role,
                              const char **text);

/**
 * Puts the answer off: the callback returns now and the generation goes on from any thread, with
 * no thread held meanwhile, until nh_generation_finish or nh_generation_fail. Call it inside the
 * callback. Harmless the second time.
 * Returns NH_OK, or NH_ERR_STATE after the end.
 * Since 1.0.
 */
nh_status nh_generation_defer(nh_generation *generation);

/**
 * Says more text of the answer; it goes out as one delta. Copies `text`, whole or not at all.
 * Returns NH_OK; NH_ERR_CANCELLED when nobody listens any more (then end it);
 * NH_ERR_WOULD_BLOCK, of deferred ones only, when the client is slower than the model and 64 KiB
 * wait: say it again later; others wait meanwhile. NH_ERR_INVALID_ARGUMENT for text that is not
 * UTF-8 (keep the first bytes of a character back until it is whole), NH_ERR_LIMIT beyond 32 MiB
 * at once, NH_ERR_STATE after the end.
 * [any-thread]   Since 1.0.
 */
nh_status nh_generation_text(nh_generation *generation, const char *text, size_t len);

/**
 * Has the model call a tool: `arguments_json` is a JSON object as text (NULL: {}), `id` the name
 * that its result will refer to (NULL: one is made). Copies all.
 * Returns what nh_generation_text returns; NH_ERR_INVALID_ARGUMENT for arguments that are not
 * JSON.
 * [any-thread]   Since 1.0.
 */
nh_status nh_generation_tool_call(nh_generation *generation,
                                  const char *id,
                                  const char *name,
                                  const char *arguments_json);

/**
 * Tells how many tokens the answer takes, for the client and the statistics; a later call
 * replaces an earlier one.
 * Returns NH_OK, NH_ERR_CANCELLED or NH_ERR_STATE.
 * [any-thread]   Since 1.0.
 */
nh_status nh_generation_usage(nh_generation *generation,
                              uint64_t prompt_tokens,
                              uint64_t completion_tokens);

/**
 * Ends the answer. `reason` is "stop", "length", "tool_calls" or "content_filter"; NULL: "stop",
 * or "tool_calls" when tools were called. Frees a deferred generation.
 * Returns NH_OK, also when nobody listens any more; NH_ERR_INVALID_ARGUMENT for another reason,
 * which leaves it as it is; NH_ERR_STATE when it was ended before.
 * [any-thread]   Since 1.0.
 */
nh_status nh_generation_finish(nh_generation *generation, const char *reason);

/**
 * Ends the answer with an error in place of what was not said: `message` (NULL: a plain one) is
 * one English sentence for the client. NH_ERR_INVALID_ARGUMENT is answered with 400,
 * NH_ERR_DENIED 403, NH_ERR_NOT_FOUND 404, NH_ERR_LIMIT 429, NH_ERR_UNSUPPORTED 501,
 * NH_ERR_TIMEOUT 504, everything else 500; once a stream has begun, with the dialect's error
 * event. Copies `message`. Frees a deferred generation.
 * Returns NH_OK, also when nobody listens any more; NH_ERR_INVALID_ARGUMENT when `why` is no
 * failure, which leaves it as it is; NH_ERR_STATE when it was ended before.
 * [any-thread]   Since 1.0.
 */
nh_status nh_generation_fail(nh_generation *generation, nh_status why, const char *message);

/**
 * 1 when nobody listens any more (the client has gone, a deadline passed, the server ended), else
 * 0; NH_ERR_INVALID_ARGUMENT on NULL. A cancelled generation is still ended by
 * nh_generation_finish.
 * [any-thread]   Since 1.0.
 */
int32_t nh_generation_cancelled(const nh_generation *generation);

/**
 * Adds a hook on prompts: called for each text of a request to a model (system prompts, messages,
 * results of tools), once for each part, before anything is sent; in order of registration, each
 * on what the last one left. Refusing answers 403. nh_chat and its kin through nh_server_client
 * pass it too. Before the start or while serving. Takes `user_data`; `drop` (may be NULL) frees it
 * exactly once, also when this fails.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_LIMIT.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_on_prompt(nh_server *server,
                              nh_text_hook hook,
                              void *user_data,
                              nh_drop drop);

/**
 * Adds a hook on streams: called for each piece of text as the model sends it, in neutral form,
 * whatever the API of the client. Pieces are not merged before. Refusing ends the stream with the
 * error event of its dialect and closes the provider's connection. Thinking and calls of tools are
 * not shown. Else as nh_server_on_prompt.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_on_delta(nh_server *server,
                             nh_text_hook hook,
                             void *user_data,
                             nh_drop drop);

/**
 * Adds a hook on finished answers: called with the whole text of an answer before it is sent;
 * refusing answers 403. Of a stream it is called once at its end, to read only: nothing can be
 * refused any more. Else as nh_server_on_prompt.
 * [any-thread]   Since 1.0.
 */
nh_status nh_server_on_reply(nh_server *server,
                             nh_text_hook hook,
                             void *user_data,
                             nh_drop drop);

/**
 * The text as the hooks before have left it. Lends it until nh_text_edit_replace or the hook's
 * return; NULL only on NULL.
 * [loop-thread]   Since 1.0.
 */
const char *nh_text_edit_text(const nh_text_edit *edit, size_t *len);

/**
 * The name of the model that was asked for. Lends it until the hook returns; NULL only on NULL.
 * [loop-thread]   Since 1.0.
 */
const char *nh_text_edit_model(const nh_text_edit *edit, size_t *len);

/**
 * Who says the text: "system", "developer", "user", "assistant" or "tool". Static text; NULL only
 * on NULL.
 * [loop-thread]   Since 1.0.
 */
const char *nh_text_edit_role(const nh_text_edit *edit, size_t *len);

/**
 * Puts `text` in the place of the text; an empty one drops it, with the part of the message or
 * the message that it was. Copies it.
 * Returns NH_OK, NH_ERR_INVALID_ARGUMENT for text that is not UTF-8, or NH_ERR_STATE at the end of
 * a stream, where the text can only be read.
 * [loop-thread]   Since 1.0.
 */
nh_status nh_text_edit_replace(nh_text_edit *edit, const char *text, size_t len);

/**
 * Counts the tokens of `text` in a published encoding: "o200k" (OpenAI's models since GPT-4o) or
 * "cl100k" (GPT-3.5 and GPT-4). Special tokens count as the text they are written as. Borrows
 * both. The first use of an encoding unpacks its vocabulary, for about half a second and 50 MiB
 * that stay; a count takes about 40 microseconds a KiB: neither belongs on a loop.
 * Returns NH_OK, or NH_ERR_INVALID_ARGUMENT for another encoding and for text that is not UTF-8.
 * [any-thread]   Since 1.0.
 */
nh_status nh_count_tokens(const char *encoding, const char *text, size_t len, uint64_t *tokens);

/**
 * The IEEE CRC-32 of `len` bytes, as zlib's crc32 and gzip have it. Borrows `data`, which may be
 * NULL when `len` is 0. Returns 0 when the arguments are invalid.
 * [any-thread]   Since 1.0.
 */
uint32_t nh_crc32(const void *data, size_t len);

/**
 * Goes on with a CRC-32: the result over all bytes so far and these. `crc` is an earlier result,
 * 0 to begin. Borrows `data`, which may be NULL when `len` is 0. Returns `crc` when the arguments
 * are invalid.
 * [any-thread]   Since 1.0.
 */
uint32_t nh_crc32_update(uint32_t crc, const void *data, size_t len);

/**
 * The CRC-32C (Castagnoli; iSCSI, ext4, gRPC) of `len` bytes. Borrows `data`, which may be NULL
 * when `len` is 0. Returns 0 when the arguments are invalid.
 * [any-thread]   Since 1.0.
 */
uint32_t nh_crc32c(const void *data, size_t len);

/**
 * Finds a member of the object that a JSON document is. The whole document is validated, as
 * strictly as RFC 8259 has it: UTF-8 without a byte order mark, paired surrogates, at most 127
 * levels, numbers within the range of a double. Names are compared after unescaping; of a member
 * that is there twice the last one counts.
 * Borrows `json`, `len` bytes; `member` ends with a NUL. `*value` becomes the raw value, a string
 * with its quotes, and `*value_len` its length. Lends it: it lies within `json` and no NUL ends
 * it.
 * Returns NH_OK, NH_ERR_NOT_FOUND without such a member or without an object, or
 * NH_ERR_INVALID_ARGUMENT when it is not JSON; the message says where.
 * [any-thread]   Since 1.0.
 */
nh_status nh_json_find(const char *json,
                       size_t len,
                       const char *member,
                       const char **value,
                       size_t *value_len);

/**
 * Reads the value that a path leads to, such as "choices.0.message.content": names of members,
 * and within arrays indices from 0. The empty path is the whole document. A name that holds a dot
 * cannot be reached; of a member that is there twice the last one counts. The whole document is
 * validated as by nh_json_find.
 * Borrows `json`, `len` bytes; `path` ends with a NUL. Gives `*value`, NUL-terminated: a string
 * decoded, anything else as it stands in the document; free it with nh_free. Its length goes to
 * `*value_len` unless that is NULL; a decoded string may hold NULs of its own.
 * Returns NH_OK, NH_ERR_NOT_FOUND, NH_ERR_MEMORY, or NH_ERR_INVALID_ARGUMENT when it is not JSON;
 * the message says where.
 * [any-thread]   Since 1.0.
 */
nh_status nh_json_get(const char *json,
                      size_t len,
                      const char *path,
                      char **value,
                      size_t *value_len);

/**
 * Copies `len` bytes that do not overlap, as memcpy does, and as fast; what is too large for the
 * caches goes past them, and is faster for that. Returns `to`. Nothing is copied when one of the
 * pointers is NULL.
 * [any-thread]   Since 1.0.
 */
void *nh_copy(void *to, const void *from, size_t len);

/**
 * Which CPU kernels were chosen: "scalar", "sse42", "avx2" or "avx512". Static text, never NULL.
 * [any-thread]   Since 1.0.
 */
const char *nh_cpu_level(void);

/**
 * Loads a plugin, before the start or while serving: of the new contract when the file exports
 * nh_plugin_entry, else of the old one (plugin_init, plugin_process, plugin_cleanup of its own;
 * its plugin_process runs on the pool). `path` is a file, or the bare name of one in
 * `plugins.dir`, without which the folder installed with the library is meant. `config` is TOML
 * text for it; NULL: the table [plugin.NAME] of the server's configuration. Borrows both.
 * Returns NH_OK, NH_ERR_NOT_FOUND (no such file), NH_ERR_CONFIG (`config` is not TOML),
 * NH_ERR_PLUGIN (it was refused; nh_last_error_message says why), NH_ERR_DUPLICATE (its name is
 * taken) or NH_ERR_LIMIT.
 * Blocks: NH_ERR_STATE on a thread of any server's loop or of this server's pool.
 * [any-thread]   Since 1.0.
 */
nh_status nh_plugin_load(nh_server *server, const char *path, const char *config);

/**
 * Unloads a plugin while requests run: nobody enters it any more, its routes and middleware go,
 * then it waits until the last call has left, and its last function runs. Borrows `name`.
 * Returns NH_OK, NH_ERR_NOT_FOUND, or NH_ERR_TIMEOUT when a call stays inside for 30 seconds: then
 * it ends when that returns.
 * Blocks: NH_ERR_STATE on a thread of any server's loop or of this server's pool.
 * [any-thread]   Since 1.0.
 */
nh_status nh_plugin_unload(nh_server *server, const char *name);

/**
 * Switches a plugin off (0) or on again: switched off it stays loaded, but is called for neither
 * requests nor events, and its routes are as if they were not there. Borrows `name`.
 * Returns NH_OK or NH_ERR_NOT_FOUND.
 * [any-thread]   Since 1.0.
 */
nh_status nh_plugin_set_enabled(nh_server *server, const char *name, int32_t enabled);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NEUROHTTP_H */
