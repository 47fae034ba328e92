/* limiter: a token bucket per client. A client that asks too often gets 429 with Retry-After.
 *
 * Keys of [plugin.limiter]; every one may be left out:
 *   by = "address"      whose bucket: "address", "key" (the API key), "header:NAME"; without the key or
 *                       the header the address counts
 *   requests = 60       tokens that flow into a bucket ...
 *   seconds = 60        ... in this time
 *   burst = 60          what a bucket holds: requests that may come at once; default: requests
 *   paths = ["/"]       only requests whose path begins with one of these
 *   exempt = []         values (addresses, keys, header values) that are never limited
 *   clients = 65536     buckets at a time, 24 bytes each; beyond it the fullest bucket makes room
 *
 * In an old host (plugin.h) the same keys come as `key = value` lines from the file that $LIMITER_CONF
 * names, else from config/limiter.conf. An old request does not tell its address, so "address" means
 * the X-Forwarded-For or X-Real-IP of the proxy in front there, and one bucket for all without one.
 */
#define _POSIX_C_SOURCE 200809L
#include "settings.h"
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

enum {
    WAYS = 8,        /* buckets of one set: a client's bucket is in the set its hash names */
    LOCKS = 64,      /* sets are spread over these */
    TEXTS_MAX = 64,  /* entries of paths and exempt */
    VALUE_MAX = 512, /* bytes of a client's name that count */
};

struct bucket {
    uint64_t client; /* hash of its name; 0: free */
    double tokens;
    uint64_t at_ms;
};

struct limiter {
    const nh_plugin_host *host; /* NULL in an old host */
    char header[64];            /* by header; "" otherwise */
    bool by_key;
    double per_ms, burst;
    char *paths[TEXTS_MAX], *exempt[TEXTS_MAX];
    size_t path_count, exempt_count;
    size_t set_count;
    struct bucket *buckets;
    uint64_t seed[2];
    pthread_mutex_t locks[LOCKS];
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Keyed, so that nobody can choose names that fall into one set. */
static uint64_t hash(const struct limiter *limiter, const char *text, size_t len)
{
    uint64_t value = limiter->seed[0] ^ len;
    size_t i;

    for (i = 0; i < len; i++) {
        value = (value ^ (unsigned char)text[i]) * UINT64_C(0x9e3779b97f4a7c15);
        value ^= value >> 29;
    }
    value = (value ^ limiter->seed[1]) * UINT64_C(0xbf58476d1ce4e5b9);
    value ^= value >> 32;
    return value != 0 ? value : 1;
}

static double refilled(const struct limiter *limiter, const struct bucket *bucket, uint64_t now)
{
    double tokens = bucket->tokens + (double)(now - bucket->at_ms) * limiter->per_ms;

    return tokens < limiter->burst ? tokens : limiter->burst;
}

/* Takes a token. Returns 0, or the milliseconds until there is one. */
static uint64_t take(struct limiter *limiter, const char *name, size_t len)
{
    uint64_t client = hash(limiter, name, len);
    size_t set = (client >> 8) % limiter->set_count;
    struct bucket *ways = &limiter->buckets[set * WAYS], *mine = NULL, *fullest = ways;
    pthread_mutex_t *lock = &limiter->locks[set % LOCKS];
    uint64_t wait = 0, now;
    int i;

    pthread_mutex_lock(lock);
    now = now_ms();
    for (i = 0; i < WAYS && mine == NULL; i++) {
        if (ways[i].client == client)
            mine = &ways[i];
        else if (ways[i].client == 0)
            break;
        /* A full bucket says nothing that a new one would not say. */
        if (refilled(limiter, &ways[i], now) > refilled(limiter, fullest, now))
            fullest = &ways[i];
    }
    if (mine == NULL) {
        mine = i < WAYS ? &ways[i] : fullest;
        *mine = (struct bucket){client, limiter->burst, now};
    }
    mine->tokens = refilled(limiter, mine, now);
    mine->at_ms = now;
    if (mine->tokens >= 1)
        mine->tokens -= 1;
    else /* A microsecond less, so that what the division makes of a whole number rounds up to it. */
        wait = (uint64_t)((1 - mine->tokens) / limiter->per_ms - 1e-3) + 1;
    pthread_mutex_unlock(lock);
    return wait;
}

/* What of "ADDRESS:PORT", "[ADDRESS]:PORT" or a bare address names the client: of IPv6 the /64, which one
 * household has to itself. */
static const char *address_of(const char *peer, size_t *len)
{
    bool is_v6 = *len > 0 && (*peer == '[' || memchr(peer, ':', *len) != strrchr(peer, ':'));
    size_t i, groups = 0;

    if (*len > 0 && *peer == '[') {
        peer++;
        *len -= 1;
    }
    for (i = 0; i < *len && peer[i] != ']'; i++) {
        if (peer[i] != ':')
            continue;
        /* "::" stands for groups of zeros: what follows may be in the other half. */
        if (!is_v6 || ++groups == 4 || (i > 0 && peer[i - 1] == ':'))
            break;
    }
    *len = i;
    return peer;
}

static bool is_limited(const struct limiter *limiter, const char *path)
{
    size_t i;

    for (i = 0; i < limiter->path_count; i++)
        if (strncmp(path, limiter->paths[i], strlen(limiter->paths[i])) == 0)
            return true;
    return limiter->path_count == 0;
}

static bool is_exempt(const struct limiter *limiter, const char *name, size_t len)
{
    size_t i;

    for (i = 0; i < limiter->exempt_count; i++)
        if (strlen(limiter->exempt[i]) == len && memcmp(limiter->exempt[i], name, len) == 0)
            return true;
    return false;
}

/* The token of "Bearer TOKEN", else the whole. */
static const char *token_of(const char *value)
{
    return strncasecmp(value, "Bearer ", 7) == 0 ? value + 7 : value;
}

/* 0, or the seconds to wait. Names of different kinds never share a bucket. */
static unsigned seconds_to_wait(struct limiter *limiter, char kind, const char *value, size_t len)
{
    char name[VALUE_MAX + 1];

    if (is_exempt(limiter, value, len))
        return 0;
    if (len > VALUE_MAX)
        len = VALUE_MAX;
    name[0] = kind;
    memcpy(name + 1, value, len);
    return (unsigned)((take(limiter, name, len + 1) + 999) / 1000);
}

static void refusal(char *text, size_t size, unsigned seconds)
{
    snprintf(text, size,
             "{\"error\":{\"message\":\"too many requests, try again in %u s\","
             "\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"rate_limited\"}}",
             seconds);
}

/* ---- configuration ---- */

static bool number(read_value *read, void *source, const char *key, double *to, double least)
{
    char *text = read(source, key), *end = NULL;
    double value;

    if (text == NULL)
        return true;
    value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= 1e9)) {
        free(text);
        return false;
    }
    *to = value;
    free(text);
    return true;
}

static size_t list(read_value *read, void *source, const char *key, char **to)
{
    size_t count;
    char path[32];

    for (count = 0; count < TEXTS_MAX; count++) {
        snprintf(path, sizeof path, "%s.%zu", key, count);
        to[count] = read(source, path);
        if (to[count] == NULL)
            break;
    }
    return count;
}

static void destroy(struct limiter *limiter)
{
    size_t i;

    for (i = 0; i < limiter->path_count; i++)
        free(limiter->paths[i]);
    for (i = 0; i < limiter->exempt_count; i++)
        free(limiter->exempt[i]);
    for (i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&limiter->locks[i]);
    free(limiter->buckets);
    free(limiter);
}

/* A limiter as configured; on failure NULL, and `*wrong` says what is wrong. */
static struct limiter *create(read_value *read, void *source, const char **wrong)
{
    struct limiter *limiter = calloc(1, sizeof *limiter);
    double requests = 60, seconds = 60, burst = 0, clients = 65536;
    char *by;
    FILE *random;
    size_t i;

    *wrong = "out of memory";
    if (limiter == NULL)
        return NULL;
    for (i = 0; i < LOCKS; i++)
        pthread_mutex_init(&limiter->locks[i], NULL);
    by = read(source, "by");
    if (by != NULL && strcmp(by, "key") == 0)
        limiter->by_key = true;
    else if (by != NULL && strncmp(by, "header:", 7) == 0 && by[7] != '\0' && strlen(by) < 70)
        strcpy(limiter->header, by + 7);
    else if (by != NULL && strcmp(by, "address") != 0)
        *wrong = "by: expected \"address\", \"key\" or \"header:NAME\"";
    free(by);
    if (!number(read, source, "requests", &requests, 1e-3))
        *wrong = "requests: expected a number above 0";
    else if (!number(read, source, "seconds", &seconds, 1e-3))
        *wrong = "seconds: expected a number above 0";
    else if (!number(read, source, "burst", &burst, 1))
        *wrong = "burst: expected 1 or more";
    else if (!number(read, source, "clients", &clients, WAYS) || clients > 1e8)
        *wrong = "clients: expected 8 to 100000000";
    limiter->path_count = list(read, source, "paths", limiter->paths);
    limiter->exempt_count = list(read, source, "exempt", limiter->exempt);
    limiter->per_ms = requests / (seconds * 1000);
    limiter->burst = burst >= 1 ? burst : requests >= 1 ? requests : 1;
    limiter->set_count = (size_t)clients / WAYS;
    if (strcmp(*wrong, "out of memory") == 0)
        limiter->buckets = calloc(limiter->set_count * WAYS, sizeof *limiter->buckets);
    random = fopen("/dev/urandom", "r");
    if (random == NULL || fread(limiter->seed, sizeof limiter->seed, 1, random) != 1)
        limiter->seed[0] = now_ms() ^ (uintptr_t)limiter;
    if (random != NULL)
        fclose(random);
    if (limiter->buckets == NULL) {
        destroy(limiter);
        return NULL;
    }
    return limiter;
}

/* ---- the new contract ---- */

static int32_t before(nh_request *request, nh_response *response, void *state)
{
    struct limiter *limiter = state;
    const nh_plugin_host *host = limiter->host;
    const char *value = NULL;
    char text[192], seconds_text[16];
    size_t len = 0;
    unsigned seconds;
    char kind = 'a';

    if (!is_limited(limiter, host->nh_request_path(request, NULL)))
        return NH_NEXT;
    if (limiter->by_key) {
        value = host->nh_request_header(request, "Authorization", NULL);
        value = value != NULL ? token_of(value) : host->nh_request_header(request, "x-api-key", NULL);
        kind = 'k';
    } else if (*limiter->header != '\0') {
        value = host->nh_request_header(request, limiter->header, NULL);
        kind = 'h';
    }
    if (value != NULL) {
        len = strlen(value);
    } else {
        value = host->nh_request_peer(request, &len);
        value = address_of(value, &len);
        kind = 'a';
    }
    seconds = seconds_to_wait(limiter, kind, value, len);
    if (seconds == 0)
        return NH_NEXT;
    refusal(text, sizeof text, seconds);
    snprintf(seconds_text, sizeof seconds_text, "%u", seconds);
    host->nh_response_header(response, "Retry-After", seconds_text);
    host->nh_response_send(response, 429, "application/json", text, NH_ZERO_TERMINATED);
    return NH_ANSWERED;
}

static nh_status init(const nh_plugin_host *host, void **state)
{
    const char *wrong;
    struct limiter *limiter = create(read_host_value, (void *)(uintptr_t)host, &wrong);

    if (limiter == NULL) {
        host->plugin_log(host->plugin, NH_LOG_ERROR, wrong, NH_ZERO_TERMINATED);
        return NH_ERR_CONFIG;
    }
    limiter->host = host;
    *state = limiter;
    return NH_OK;
}

static void fini(void *state)
{
    destroy(state);
}

const nh_plugin *nh_plugin_entry(const nh_plugin_host *host);
const nh_plugin *nh_plugin_entry(const nh_plugin_host *host)
{
    static const nh_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi = NH_PLUGIN_ABI,
        .name = "limiter",
        .version = "1.0.0",
        .summary = "a token bucket per client",
        .init = init,
        .fini = fini,
        .before = before,
    };

    (void)host;
    return &plugin;
}

/* ---- the old contract ---- */

static struct limiter *old;

int plugin_init(void);
int plugin_init(void)
{
    const char *wrong;
    FILE *file;

    if (open_settings("LIMITER_CONF", "config/limiter.conf", &file) != 0)
        return -1;
    old = create(read_file_value, file, &wrong);
    if (file != NULL)
        fclose(file);
    if (old == NULL)
        fprintf(stderr, "limiter: %s\n", wrong);
    return old != NULL ? 0 : -1;
}

int plugin_process(void *request_pointer, void *response_pointer);
int plugin_process(void *request_pointer, void *response_pointer)
{
    const HTTPRequest *request = request_pointer;
    RouteResponse *response = response_pointer;
    const char *value = NULL;
    char text[192], whole[512];
    char kind = 'a';
    size_t len;
    unsigned seconds;

    if (request->path == NULL || !is_limited(old, request->path))
        return 0;
    if (old->by_key) {
        value = header_of(request, "Authorization");
        value = value != NULL ? token_of(value) : header_of(request, "x-api-key");
        kind = 'k';
    } else if (*old->header != '\0') {
        value = header_of(request, old->header);
        kind = 'h';
    }
    if (value == NULL) {
        kind = 'a';
        value = header_of(request, "X-Forwarded-For");
        if (value == NULL)
            value = header_of(request, "X-Real-IP");
        if (value == NULL)
            value = "everybody";
        len = strcspn(value, ", ");
        value = address_of(value, &len);
    } else {
        len = strlen(value);
    }
    seconds = seconds_to_wait(old, kind, value, len);
    if (seconds == 0)
        return 0;
    refusal(text, sizeof text, seconds);
    snprintf(whole, sizeof whole,
             "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: %u\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             seconds, strlen(text), text);
    response->data = strdup(whole);
    response->length = response->data != NULL ? strlen(whole) : 0;
    response->status_code = 429;
    return 1;
}

void plugin_cleanup(void);
void plugin_cleanup(void)
{
    destroy(old);
    old = NULL;
}
