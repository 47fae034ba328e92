/* A plugin of the new contract that uses every part of it and tells what it has seen. */
#include <neurohttp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct probe {
    const nh_plugin_host *host;
    FILE *trace;
    atomic_int connects, disconnects, requests, responses, before, after, drops;
    atomic_int last_status;
};

static void note(struct probe *probe, const char *what)
{
    fprintf(probe->trace, "%s\n", what);
    fflush(probe->trace);
}

static void count_drop(void *user_data)
{
    struct probe *probe = user_data;

    atomic_fetch_add(&probe->drops, 1);
    note(probe, "drop");
}

static nh_status counts(nh_request *request, nh_response *response, void *user_data)
{
    struct probe *probe = user_data;
    char text[256];

    (void)request;
    snprintf(text, sizeof text,
             "connects %d disconnects %d requests %d responses %d before %d after %d last %d\n",
             probe->connects, probe->disconnects, probe->requests, probe->responses, probe->before,
             probe->after, probe->last_status);
    return probe->host->nh_response_send(response, 200, "text/plain", text, NH_ZERO_TERMINATED);
}

static nh_status echo(nh_request *request, nh_response *response, void *user_data)
{
    const nh_plugin_host *host = ((struct probe *)user_data)->host;
    const char *word = host->nh_request_param(request, "word", NULL);

    return host->nh_response_send(response, 200, "text/plain", word, NH_ZERO_TERMINATED);
}

/* Held open by the test: a call that is inside while the plugin is unloaded. */
static nh_status slow(nh_request *request, nh_response *response, void *user_data)
{
    struct probe *probe = user_data;
    char seen[64] = "";
    const char *gate = probe->host->nh_request_query(request, "gate", NULL);
    FILE *file;

    note(probe, "inside");
    file = fopen(gate, "r"); /* a FIFO: waits for its writer */
    if (file != NULL) {
        if (fgets(seen, sizeof seen, file) == NULL)
            strcpy(seen, "nothing");
        fclose(file);
    }
    note(probe, "leaving");
    return probe->host->nh_response_send(response, 200, "text/plain", seen, NH_ZERO_TERMINATED);
}

static void stream_ready(nh_stream *stream, nh_status status, void *user_data)
{
    struct probe *probe = user_data;

    if (status == NH_ERR_CLOSED)
        note(probe, "closed");
    probe->host->nh_stream_end(stream);
}

/* Fills the queue and leaves the rest to the callback. */
static nh_status stream(nh_request *request, nh_response *response, void *user_data)
{
    static char block[65536];
    struct probe *probe = user_data;
    nh_stream *out;

    (void)request;
    if (probe->host->nh_response_stream(response, &out) != NH_OK)
        return NH_ERR_STATE;
    memset(block, 's', sizeof block);
    probe->host->nh_stream_on_ready(out, stream_ready, probe, count_drop);
    while (probe->host->nh_stream_write(out, block, sizeof block) == NH_OK)
        ;
    return NH_OK;
}

static int32_t own_before(nh_request *request, nh_response *response, void *state)
{
    struct probe *probe = state;
    const char *path = probe->host->nh_request_path(request, NULL);

    atomic_fetch_add(&probe->before, 1);
    if (strcmp(path, "/refused") == 0) {
        probe->host->nh_response_send(response, 418, "text/plain", "by probe", 8);
        return NH_ANSWERED;
    }
    return strcmp(path, "/fails") == 0 ? NH_ERR_IO : NH_NEXT;
}

static int32_t more_before(nh_request *request, nh_response *response, void *user_data)
{
    struct probe *probe = user_data;

    (void)request;
    return probe->host->nh_response_header(response, "X-Probe-Before", "yes");
}

static int32_t own_after(nh_request *request, nh_response *response, void *state)
{
    struct probe *probe = state;

    (void)request;
    atomic_fetch_add(&probe->after, 1);
    return probe->host->nh_response_header(response, "X-Probe-After", "yes");
}

static void on_start(void *state) { note(state, "start"); }
static void on_stop(void *state) { note(state, "stop"); }

static void on_connect(const char *peer, size_t len, void *state)
{
    struct probe *probe = state;

    if (strncmp(peer, "127.0.0.1:", 10) == 0 && peer[len] == '\0')
        atomic_fetch_add(&probe->connects, 1);
}

static void on_disconnect(const char *peer, size_t len, void *state)
{
    struct probe *probe = state;

    if (strlen(peer) == len)
        atomic_fetch_add(&probe->disconnects, 1);
}

static void on_request(const nh_request *request, void *state)
{
    struct probe *probe = state;

    if (probe->host->nh_request_method(request, NULL) != NULL)
        atomic_fetch_add(&probe->requests, 1);
}

static void on_response(const nh_request *request, const nh_plugin_outcome *outcome, void *state)
{
    struct probe *probe = state;

    if (request != NULL && outcome->struct_size >= sizeof *outcome) {
        atomic_fetch_add(&probe->responses, 1);
        probe->last_status = outcome->status;
    }
}

static void fini(void *state)
{
    struct probe *probe = state;

    note(probe, "fini");
    fclose(probe->trace);
    free(probe);
}

/* The value of a key, or an empty text. */
static void setting(const nh_plugin_host *host, const char *path, char *to, size_t size)
{
    char *value;

    *to = '\0';
    if (host->plugin_config_get(host->plugin, path, &value, NULL) == NH_OK) {
        snprintf(to, size, "%s", value);
        host->nh_free(value);
    }
}

/* A hook on prompts: the secret is for nobody. */
static int32_t hide(nh_text_edit *edit, void *user_data)
{
    struct probe *probe = user_data;

    if (strcmp(probe->host->nh_text_edit_text(edit, NULL), "secret") == 0)
        return probe->host->nh_text_edit_replace(edit, "hidden", NH_ZERO_TERMINATED);
    return 0;
}

static nh_status init(const nh_plugin_host *host, void **state)
{
    char trace[512], greeting[64];
    struct probe *probe;

    setting(host, "trace", trace, sizeof trace);
    setting(host, "deep.0.greeting", greeting, sizeof greeting);
    if (*trace == '\0') {
        host->plugin_log(host->plugin, NH_LOG_ERROR, "it needs a trace", NH_ZERO_TERMINATED);
        return NH_ERR_CONFIG;
    }
    probe = calloc(1, sizeof *probe);
    if (probe == NULL)
        return NH_ERR_MEMORY;
    probe->host = host;
    probe->trace = fopen(trace, "a");
    if (probe->trace == NULL) {
        free(probe);
        return NH_ERR_IO;
    }
    host->plugin_log(host->plugin, NH_LOG_INFO, greeting, NH_ZERO_TERMINATED);
    host->plugin_route(host->plugin, "GET", "/probe/counts", 0, counts, probe, count_drop);
    host->plugin_route(host->plugin, "GET", "/probe/echo/:word", 0, echo, probe, count_drop);
    host->plugin_route(host->plugin, "GET", "/probe/slow", NH_ROUTE_BLOCKING, slow, probe, NULL);
    host->plugin_route(host->plugin, "GET", "/probe/stream", 0, stream, probe, NULL);
    host->plugin_route(host->plugin, "GET", "/probe/gone", 0, echo, probe, NULL);
    host->plugin_before(host->plugin, more_before, probe, count_drop);
    host->plugin_on_prompt(host->plugin, hide, probe, NULL);
    if (host->plugin_unroute(host->plugin, "GET", "/probe/gone") != NH_OK ||
        host->plugin_unroute(host->plugin, "GET", "/probe/gone") != NH_ERR_NOT_FOUND ||
        host->plugin_route(host->plugin, "GET", "/probe/echo/:again", 0, echo, probe, count_drop) !=
            NH_ERR_DUPLICATE)
        return NH_ERR_STATE;
    *state = probe;
    return NH_OK;
}

const nh_plugin *nh_plugin_entry(const nh_plugin_host *host);
const nh_plugin *nh_plugin_entry(const nh_plugin_host *host)
{
    static nh_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi = NH_PLUGIN_ABI,
        .name = "probe",
        .version = "1.2.3",
        .summary = "looks at everything",
        .init = init,
        .fini = fini,
        .before = own_before,
        .after = own_after,
        .on_start = on_start,
        .on_stop = on_stop,
        .on_connect = on_connect,
        .on_disconnect = on_disconnect,
        .on_request = on_request,
        .on_response = on_response,
    };
    /* Nothing can be registered or read before init. */
    if (host->struct_size < sizeof *host || host->abi != NH_PLUGIN_ABI ||
        host->plugin_config(host->plugin, NULL) != NULL ||
        host->plugin_route(host->plugin, "GET", "/x", 0, echo, NULL, NULL) != NH_ERR_STATE)
        return NULL;
    return &plugin;
}
