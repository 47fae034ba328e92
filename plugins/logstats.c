/* logstats: one row per answer, as JSON lines or CSV, into files that are rotated by size.
 *
 * Keys of [plugin.logstats]; every one may be left out:
 *   file = "requests.jsonl"   where the rows go; the folder must be there
 *   format = "json"           "json" or "csv" (with a line of names on top of each file)
 *   max_bytes = 16777216      a file that would grow beyond is renamed to FILE.1, that to FILE.2, ...
 *   keep = 5                  ... as many of them as this; 0: none is kept
 *   query = false             with what follows "?" in the target: it may hold secrets
 *
 * A row: time (UTC), id, peer, method, target, status, bytes, ms, agent. bytes is 0 for a stream.
 *
 * The answer never waits for the disk: rows go into a bounded buffer that a thread writes out. When it is
 * full, rows are dropped, and their number is logged.
 *
 * In an old host (plugin.h) the same keys come as `key = value` lines from the file that $LOGSTATS_CONF
 * names, else from config/logstats.conf. It is called before the answer there, so status, bytes and ms
 * are empty.
 */
#define _POSIX_C_SOURCE 200809L
#include "settings.h"
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

enum {
    BUFFER_BYTES = 1 << 20,
    FIELD_BYTES = 2048, /* what is kept of target or agent */
    ROW_BYTES = 32 * 1024,
    KEEP_MAX = 1000,
};

struct logstats {
    const nh_plugin_host *host; /* NULL in an old host */
    char path[1024];
    bool csv, query;
    unsigned keep;
    uint64_t bytes_max;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    char *buffer;
    size_t filled;
    uint64_t dropped;
    bool ending;

    pthread_t writer; /* has the rest to itself */
    FILE *file;
    uint64_t size;
};

/* One answer; a text may be NULL, a number negative when it is not known. */
struct row {
    const char *id, *peer, *method, *target, *agent;
    int64_t status, bytes, us;
};

static void complain(struct logstats *stats, const char *what, const char *detail)
{
    char text[1400];

    snprintf(text, sizeof text, "%s: %s", what, detail);
    if (stats->host != NULL)
        stats->host->plugin_log(stats->host->plugin, NH_LOG_ERROR, text, NH_ZERO_TERMINATED);
    else
        fprintf(stderr, "logstats: %s\n", text);
}

/* ---- rows ---- */

struct text {
    char *at;
    size_t len, room;
};

static void add(struct text *text, const char *bytes, size_t len)
{
    if (len <= text->room - text->len) {
        memcpy(text->at + text->len, bytes, len);
        text->len += len;
    }
}

static void add_text(struct text *text, const char *words)
{
    add(text, words, strlen(words));
}

/* The length of the UTF-8 character at `at`, 0 when it is none. */
static size_t character(const unsigned char *at, size_t left)
{
    size_t len = *at < 0x80 ? 1 : *at >= 0xc2 && *at < 0xe0 ? 2 : (*at & 0xf0) == 0xe0 ? 3 : 0;
    size_t i;

    if (*at >= 0xf0 && *at < 0xf5)
        len = 4;
    if (len == 0 || len > left)
        return 0;
    for (i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f) || (*at == 0xf0 && at[1] < 0x90) ||
        (*at == 0xf4 && at[1] > 0x8f))
        return 0;
    return len;
}

/* A value as JSON string or CSV field. What a client sends cannot leave its place in the row. */
static void add_value(const struct logstats *stats, struct text *text, const char *value, size_t len)
{
    size_t i = 0, step;

    if (value == NULL) {
        add_text(text, stats->csv ? "" : "null");
        return;
    }
    if (len > FIELD_BYTES)
        len = FIELD_BYTES;
    add_text(text, "\"");
    for (; i < len; i += step > 0 ? step : 1) {
        unsigned char c = (unsigned char)value[i];
        char escaped[8];

        step = character((const unsigned char *)value + i, len - i);
        if (step == 0)
            add_text(text, "\xef\xbf\xbd"); /* no UTF-8: the replacement character */
        else if (stats->csv && c == '"')
            add_text(text, "\"\"");
        else if (stats->csv && c < 0x20)
            add_text(text, " ");
        else if (!stats->csv && (c < 0x20 || c == '"' || c == '\\'))
            add(text, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", c));
        else
            add(text, value + i, step);
    }
    add_text(text, "\"");
}

static void add_number(const struct logstats *stats, struct text *text, int64_t number)
{
    char digits[32];

    if (number < 0) {
        add_text(text, stats->csv ? "" : "null");
        return;
    }
    add(text, digits, (size_t)snprintf(digits, sizeof digits, "%lld", (long long)number));
}

static void add_name(const struct logstats *stats, struct text *text, const char *name)
{
    if (text->len > 0)
        add_text(text, ",");
    if (stats->csv)
        return;
    add_text(text, text->len > 0 ? "\"" : "{\"");
    add_text(text, name);
    add_text(text, "\":");
}

static void put(struct logstats *stats, const struct row *row)
{
    char bytes[ROW_BYTES], now_text[40], ms[32];
    struct text text = {bytes, 0, sizeof bytes};
    struct timespec now;
    struct tm parts;
    size_t target_len = row->target == NULL ? 0
                        : stats->query      ? strlen(row->target)
                                            : strcspn(row->target, "?");

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(now_text, sizeof now_text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(now_text + 19, sizeof now_text - 19, ".%03ldZ", now.tv_nsec / 1000000);
    add_name(stats, &text, "time");
    add_value(stats, &text, now_text, strlen(now_text));
    add_name(stats, &text, "id");
    add_value(stats, &text, row->id, row->id ? strlen(row->id) : 0);
    add_name(stats, &text, "peer");
    add_value(stats, &text, row->peer, row->peer ? strlen(row->peer) : 0);
    add_name(stats, &text, "method");
    add_value(stats, &text, row->method, row->method ? strlen(row->method) : 0);
    add_name(stats, &text, "target");
    add_value(stats, &text, row->target, target_len);
    add_name(stats, &text, "status");
    add_number(stats, &text, row->status);
    add_name(stats, &text, "bytes");
    add_number(stats, &text, row->bytes);
    add_name(stats, &text, "ms");
    if (row->us < 0)
        add_number(stats, &text, -1);
    else
        add(&text, ms, (size_t)snprintf(ms, sizeof ms, "%.3f", (double)row->us / 1000));
    add_name(stats, &text, "agent");
    add_value(stats, &text, row->agent, row->agent ? strlen(row->agent) : 0);
    add_text(&text, stats->csv ? "\n" : "}\n");

    pthread_mutex_lock(&stats->lock);
    if (stats->filled + text.len <= BUFFER_BYTES) {
        memcpy(stats->buffer + stats->filled, bytes, text.len);
        stats->filled += text.len;
    } else {
        stats->dropped++;
    }
    pthread_cond_signal(&stats->changed);
    pthread_mutex_unlock(&stats->lock);
}

/* ---- files ---- */

static bool open_file(struct logstats *stats)
{
    stats->file = fopen(stats->path, "a");
    if (stats->file == NULL) {
        complain(stats, stats->path, strerror(errno));
        return false;
    }
    fseek(stats->file, 0, SEEK_END);
    stats->size = (uint64_t)ftell(stats->file);
    if (stats->size == 0 && stats->csv)
        stats->size += (uint64_t)fprintf(stats->file, "time,id,peer,method,target,status,bytes,ms,agent\n");
    return true;
}

static void rotate(struct logstats *stats)
{
    char from[1100], to[1100];
    unsigned number;

    fclose(stats->file);
    for (number = stats->keep; number > 0; number--) {
        snprintf(to, sizeof to, "%s.%u", stats->path, number);
        if (number > 1)
            snprintf(from, sizeof from, "%s.%u", stats->path, number - 1);
        else
            snprintf(from, sizeof from, "%s", stats->path);
        rename(from, to); /* the first times there is nothing to rename */
    }
    if (stats->keep == 0)
        remove(stats->path);
    open_file(stats);
}

/* Writes whole rows, each into the file it still fits in. */
static void write_rows(struct logstats *stats, const char *rows, size_t len)
{
    while (len > 0 && stats->file != NULL) {
        const char *end = memchr(rows, '\n', len);
        size_t row = (size_t)(end - rows) + 1;

        if (stats->size > 0 && stats->size + row > stats->bytes_max)
            rotate(stats);
        if (stats->file == NULL)
            return;
        if (fwrite(rows, row, 1, stats->file) != 1) {
            complain(stats, stats->path, strerror(errno));
            clearerr(stats->file);
        }
        stats->size += row;
        rows += row;
        len -= row;
    }
    if (stats->file != NULL && fflush(stats->file) != 0)
        complain(stats, stats->path, strerror(errno));
}

static void *write_out(void *data)
{
    struct logstats *stats = data;
    char *rows = malloc(BUFFER_BYTES);
    bool ending = false;

    while (rows != NULL && !ending) {
        uint64_t dropped;
        size_t len;
        char text[32];

        pthread_mutex_lock(&stats->lock);
        while (stats->filled == 0 && !stats->ending)
            pthread_cond_wait(&stats->changed, &stats->lock);
        len = stats->filled;
        memcpy(rows, stats->buffer, len);
        stats->filled = 0;
        dropped = stats->dropped;
        stats->dropped = 0;
        ending = stats->ending;
        pthread_mutex_unlock(&stats->lock);
        write_rows(stats, rows, len);
        if (dropped > 0) {
            snprintf(text, sizeof text, "%llu", (unsigned long long)dropped);
            complain(stats, "rows were dropped, the disk is too slow", text);
        }
    }
    free(rows);
    return NULL;
}

/* ---- configuration and life ---- */

static bool number(read_value *read, void *source, const char *key, uint64_t most, uint64_t *to)
{
    char *text = read(source, key), *end = NULL;
    unsigned long long value;

    if (text == NULL)
        return true;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || errno != 0 || value > most) {
        free(text);
        return false;
    }
    *to = value;
    free(text);
    return true;
}

static void destroy(struct logstats *stats, bool running)
{
    if (running) {
        pthread_mutex_lock(&stats->lock);
        stats->ending = true;
        pthread_cond_signal(&stats->changed);
        pthread_mutex_unlock(&stats->lock);
        pthread_join(stats->writer, NULL);
    }
    if (stats->file != NULL)
        fclose(stats->file);
    pthread_cond_destroy(&stats->changed);
    pthread_mutex_destroy(&stats->lock);
    free(stats->buffer);
    free(stats);
}

static struct logstats *create(const nh_plugin_host *host, read_value *read, void *source)
{
    struct logstats *stats = calloc(1, sizeof *stats);
    uint64_t keep = 5;
    char *text;
    const char *wrong = NULL;

    if (stats == NULL)
        return NULL;
    stats->host = host;
    stats->bytes_max = 16 << 20;
    pthread_mutex_init(&stats->lock, NULL);
    pthread_cond_init(&stats->changed, NULL);
    text = read(source, "file");
    if (text != NULL && strlen(text) >= sizeof stats->path)
        wrong = "file: the path is too long";
    else
        strcpy(stats->path, text != NULL && *text != '\0' ? text : "requests.jsonl");
    free(text);
    text = read(source, "format");
    stats->csv = text != NULL && strcmp(text, "csv") == 0;
    if (text != NULL && !stats->csv && strcmp(text, "json") != 0)
        wrong = "format: expected \"json\" or \"csv\"";
    free(text);
    text = read(source, "query");
    stats->query = text != NULL && strcmp(text, "true") == 0;
    if (text != NULL && !stats->query && strcmp(text, "false") != 0)
        wrong = "query: expected true or false";
    free(text);
    if (!number(read, source, "max_bytes", UINT64_C(1) << 50, &stats->bytes_max) || stats->bytes_max < 1024)
        wrong = "max_bytes: expected 1024 or more";
    if (!number(read, source, "keep", KEEP_MAX, &keep))
        wrong = "keep: expected 0 to 1000";
    stats->keep = (unsigned)keep;
    if (wrong != NULL) {
        complain(stats, "configuration", wrong);
        destroy(stats, false);
        return NULL;
    }
    stats->buffer = malloc(BUFFER_BYTES);
    if (stats->buffer == NULL || !open_file(stats) ||
        pthread_create(&stats->writer, NULL, write_out, stats) != 0) {
        destroy(stats, false);
        return NULL;
    }
    return stats;
}

/* ---- the new contract ---- */

static void on_response(const nh_request *request, const nh_plugin_outcome *outcome, void *state)
{
    struct logstats *stats = state;
    const nh_plugin_host *host = stats->host;
    struct row row = {
        .status = outcome->status,
        .bytes = (int64_t)outcome->body_bytes,
        .us = (int64_t)outcome->elapsed_us,
    };

    if (request != NULL) {
        row.id = host->nh_request_id(request, NULL);
        row.peer = host->nh_request_peer(request, NULL);
        row.method = host->nh_request_method(request, NULL);
        row.target = host->nh_request_target(request, NULL);
        row.agent = host->nh_request_header(request, "User-Agent", NULL);
    }
    put(stats, &row);
}

static nh_status init(const nh_plugin_host *host, void **state)
{
    struct logstats *stats = create(host, read_host_value, (void *)(uintptr_t)host);

    *state = stats;
    return stats != NULL ? NH_OK : NH_ERR_CONFIG;
}

static void fini(void *state)
{
    destroy(state, true);
}

const nh_plugin *nh_plugin_entry(const nh_plugin_host *host);
const nh_plugin *nh_plugin_entry(const nh_plugin_host *host)
{
    static const nh_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi = NH_PLUGIN_ABI,
        .name = "logstats",
        .version = "1.0.0",
        .summary = "a row per answer",
        .init = init,
        .fini = fini,
        .on_response = on_response,
    };

    (void)host;
    return &plugin;
}

/* ---- the old contract ---- */

static struct logstats *old;

int plugin_init(void);
int plugin_init(void)
{
    FILE *file;

    if (open_settings("LOGSTATS_CONF", "config/logstats.conf", &file) != 0)
        return -1;
    old = create(NULL, read_file_value, file);
    if (file != NULL)
        fclose(file);
    return old != NULL ? 0 : -1;
}

int plugin_process(void *request_pointer, void *response_pointer);
int plugin_process(void *request_pointer, void *response_pointer)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"};
    const HTTPRequest *request = request_pointer;
    struct row row = {.status = -1, .bytes = -1, .us = -1};
    char target[FIELD_BYTES];

    (void)response_pointer;
    row.id = header_of(request, "X-Request-Id");
    row.peer = header_of(request, "X-Forwarded-For");
    row.agent = header_of(request, "User-Agent");
    if ((unsigned)request->method < sizeof methods / sizeof *methods)
        row.method = methods[request->method];
    snprintf(target, sizeof target, "%s%s%s", request->path != NULL ? request->path : "",
             request->query_string != NULL ? "?" : "", request->query_string != NULL ? request->query_string : "");
    row.target = target;
    put(old, &row);
    return 0;
}

void plugin_cleanup(void);
void plugin_cleanup(void)
{
    destroy(old, true);
    old = NULL;
}
