/* The new contract from the host's side: loading, refusing, requests, events, unloading.
 * argv[1] is the folder with the plugins; traces are written there too. */
#include "../c/check.h"
#include <sys/stat.h>

static const char *folder;

static const char *in_folder(const char *name)
{
    static char path[4][1024];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[0], "%s/%s", folder, name);
    return path[turn];
}

static int traced(const char *name, const char *word)
{
    static char text[65536];
    FILE *file = fopen(in_folder(name), "r");
    const char *at = text;
    int count = 0;

    if (file == NULL)
        return 0;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    while ((at = strstr(at, word)) != NULL) {
        count++;
        at += strlen(word);
    }
    return count;
}

static void wait_traced(const char *name, const char *word, int wanted)
{
    int turn;

    for (turn = 0; turn < 20000 && traced(name, word) < wanted; turn++)
        poll(NULL, 0, 1);
    CHECK(traced(name, word) == wanted);
}

/* Log lines come on any thread. */
static mtx_t log_lock;

static void collect(int32_t level, const char *message, size_t len, void *user_data)
{
    char *log = user_data;

    (void)level;
    mtx_lock(&log_lock);
    if (strlen(log) + len + 2 < 65536) {
        strcat(log, message);
        strcat(log, "\n");
    }
    mtx_unlock(&log_lock);
}

static nh_status taken(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    return nh_response_send(response, 200, "text/plain", "host", 4);
}

static void refusals(nh_server *server)
{
    static const struct {
        const char *file, *says;
    } odd[] = {
        {"odd-null.so", "returned NULL"},   {"odd-abi.so", "plugin contract 2"},
        {"odd-size.so", "struct_size of 4"}, {"odd-beyond.so", "does not know"},
        {"odd-flags.so", "flag bits 0x80"},  {"odd-name.so", "\"not a name\""},
        {"odd-init.so", "its init failed: it returned -16 (NH_ERR_DENIED)"},
        {"nothing.so", "does not define plugin_init itself"},
    };
    size_t i;

    for (i = 0; i < sizeof odd / sizeof *odd; i++) {
        CHECK_STATUS(nh_plugin_load(server, in_folder(odd[i].file), NULL), NH_ERR_PLUGIN);
        if (strstr(nh_last_error_message(), odd[i].says) == NULL ||
            strstr(nh_last_error_message(), odd[i].file) == NULL) {
            fprintf(stderr, "%s: %s\n", odd[i].file, nh_last_error_message());
            exit(1);
        }
    }
    CHECK_STATUS(nh_plugin_load(server, in_folder("absent.so"), NULL), NH_ERR_NOT_FOUND);
    CHECK_STATUS(nh_plugin_load(server, "absent", NULL), NH_ERR_NOT_FOUND);
    CHECK_STATUS(nh_plugin_load(server, in_folder("text.so"), NULL), NH_ERR_PLUGIN);
    CHECK_STATUS(nh_plugin_load(server, in_folder("probe.so"), "no = = toml"), NH_ERR_CONFIG);
    CHECK_STATUS(nh_plugin_load(server, in_folder("probe.so"), ""), NH_ERR_PLUGIN);
    CHECK_STATUS(nh_plugin_unload(server, "probe"), NH_ERR_NOT_FOUND);
    CHECK_STATUS(nh_plugin_set_enabled(server, "probe", 0), NH_ERR_NOT_FOUND);
    CHECK_OK(nh_plugin_load(server, in_folder("odd-short.so"), NULL));
    CHECK_STATUS(nh_plugin_load(server, in_folder("odd-short.so"), NULL), NH_ERR_DUPLICATE);
    CHECK_OK(nh_plugin_unload(server, "odd-short"));
}

struct call {
    nh_server *server;
    char answer[4096];
};

static int ask_slow(void *data)
{
    struct call *call = data;
    char head[1500];
    size_t len = 0;
    ssize_t got;
    int fd = dial(call->server);

    snprintf(head, sizeof head,
             "GET /probe/slow?gate=%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
             in_folder("gate"));
    say(fd, head);
    while ((got = recv(fd, call->answer + len, sizeof call->answer - 1 - len, 0)) > 0)
        len += (size_t)got;
    close(fd);
    return 0;
}

static int unload(void *data)
{
    CHECK_OK(nh_plugin_unload(data, "probe"));
    return 0;
}

/* Some thread always asks while the plugin comes and goes. */
struct crowd {
    nh_server *server;
    atomic_int stop, answers;
};

static int keep_asking(void *data)
{
    struct crowd *crowd = data;
    static const char request[] = "GET /probe/echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char text[2048];
    int fd = dial(crowd->server);

    while (!atomic_load(&crowd->stop)) {
        ssize_t got;

        say(fd, request);
        got = recv(fd, text, sizeof text - 1, 0);
        CHECK(got > 0);
        text[got] = '\0';
        CHECK(status_of(text) == 200 || status_of(text) == 404);
        atomic_fetch_add(&crowd->answers, 1);
    }
    close(fd);
    return 0;
}

/* A server learns that a client has gone a moment after the client. */
static void wait_until_alone(const nh_server *server)
{
    char *stats;
    int turn, alone = 0;

    for (turn = 0; turn < 20000 && !alone; turn++) {
        CHECK_OK(nh_server_stats_json(server, &stats, NULL));
        alone = strstr(stats, "\"active\":0") != NULL;
        nh_free(stats);
        if (!alone)
            poll(NULL, 0, 1);
    }
    CHECK(alone);
}

int main(int argc, char **argv)
{
    static char log[65536];
    char config[2048];
    nh_server_options options = quiet_options();
    nh_server *server = NULL, *other = NULL;
    struct call call;
    struct crowd crowd = {NULL, 0, 0};
    thrd_t caller, unloader, askers[4];
    char *stats;
    FILE *gate;
    int i, fd;

    CHECK(argc == 2 && mtx_init(&log_lock, mtx_plain) == thrd_success);
    folder = argv[1];
    snprintf(config, sizeof config,
             "[plugins]\ndir = \"%s\"\n[plugin.probe]\ntrace = \"%s\"\ndeep = [{ greeting = \"hello log\" }]\n"
             "[plugin.absent]\n",
             folder, in_folder("trace"));
    options.config_text = config;
    options.log = collect;
    options.log_user_data = log;
    CHECK_OK(nh_server_new(&options, &server));
    CHECK(strstr(log, "odd-null.so") != NULL && strstr(log, "[plugin.absent]") != NULL);
    CHECK(strstr(log, "plugin probe: hello log") != NULL);
    CHECK(strstr(log, "plugin probe 1.2.3 loaded: looks at everything") != NULL);
    CHECK_OK(nh_plugin_unload(server, "probe"));
    CHECK(traced("trace", "drop\n") == 4 && traced("trace", "fini\n") == 1);
    CHECK(traced("trace", "start\n") == 0 && traced("trace", "stop\n") == 0);
    nh_server_free(server);

    /* Nothing by itself; the refused ones, then the good one by its bare name. */
    snprintf(config, sizeof config, "[plugins]\ndir = \"%s\"\nload = [\"probe\"]\n", folder);
    CHECK_STATUS(nh_server_new(&options, &server), NH_ERR_PLUGIN);
    CHECK(strstr(nh_last_error_message(), "its init failed: it returned -6") != NULL);
    options.config_text = NULL;
    CHECK_OK(nh_server_new(&options, &server));
    refusals(server);
    CHECK_OK(nh_server_route(server, "GET", "/taken", 0, taken, NULL, NULL));
    snprintf(config, sizeof config, "trace = \"%s\"\n", in_folder("trace2"));
    CHECK_OK(nh_plugin_load(server, in_folder("probe.so"), config));
    CHECK_STATUS(nh_plugin_load(server, in_folder("probe.so"), config), NH_ERR_DUPLICATE);
    CHECK_OK(nh_server_start(server));
    CHECK(traced("trace2", "start\n") == 1);

    CHECK_TEXT(body_of(get(server, "/probe/echo/a%20b")), "a b");
    CHECK(strstr(get(server, "/nowhere"), "X-Probe-After: yes") != NULL);
    CHECK(status_of(get(server, "/nowhere")) == 404);
    CHECK(strstr(get(server, "/taken"), "X-Probe-Before: yes") != NULL);
    CHECK(status_of(get(server, "/refused")) == 418);
    CHECK(status_of(get(server, "/fails")) == 500);
    CHECK(status_of(get(server, "/probe/gone")) == 404);
    fd = dial(server);
    say(fd, "nonsense\r\n\r\n");
    CHECK(status_of(hear(fd)) == 400);
    wait_until_alone(server);
    CHECK_TEXT(body_of(get(server, "/probe/counts")),
               "connects 9 disconnects 8 requests 8 responses 7 before 8 after 7 last 404\n");
    CHECK_OK(nh_server_stats_json(server, &stats, NULL));
    CHECK(strstr(stats, "\"name\":\"probe\"") != NULL && strstr(stats, "\"contract\":\"new\"") != NULL);
    CHECK(strstr(stats, "\"version\":\"1.2.3\"") != NULL && strstr(stats, "\"calls\":0,") == NULL);
    nh_free(stats);

    /* Switched off it is as if it were not there. */
    CHECK_OK(nh_plugin_set_enabled(server, "probe", 0));
    CHECK(status_of(get(server, "/probe/echo/x")) == 404 && status_of(get(server, "/refused")) == 404);
    CHECK_OK(nh_plugin_set_enabled(server, "probe", 1));
    CHECK(status_of(get(server, "/refused")) == 418);

    /* Its hook on prompts, in place before the model is asked. */
    CHECK(strstr(ask(server, "POST", "/v1/chat", "{\"model\":\"echo\",\"prompt\":\"secret\"}"),
                 "\"hidden\"") != NULL);

    /* The same file in a second server is a plugin of its own. */
    CHECK_OK(nh_server_new(&options, &other));
    snprintf(config, sizeof config, "trace = \"%s\"\n", in_folder("trace3"));
    CHECK_OK(nh_server_route(other, "GET", "/taken", 0, taken, NULL, NULL));
    CHECK_OK(nh_server_start(other));
    CHECK_OK(nh_plugin_load(other, in_folder("probe.so"), config));
    CHECK(traced("trace3", "start\n") == 1);
    CHECK(strstr(body_of(get(other, "/probe/counts")), "before 1 ") != NULL);
    CHECK_OK(nh_server_wait(other, 0) == NH_ERR_TIMEOUT ? NH_OK : NH_ERR_STATE);
    nh_server_stop(other);
    CHECK_OK(nh_server_wait(other, 20000));
    CHECK(traced("trace3", "stop\n") == 1);
    nh_server_free(other);
    CHECK(traced("trace3", "fini\n") == 1 && traced("trace3", "stop\n") == 1);

    /* An unload waits for the call that is inside, and lets it finish. */
    call.server = server;
    memset(call.answer, 0, sizeof call.answer);
    CHECK(mkfifo(in_folder("gate"), 0600) == 0);
    CHECK(thrd_create(&caller, ask_slow, &call) == thrd_success);
    wait_traced("trace2", "inside\n", 1);
    CHECK(thrd_create(&unloader, unload, server) == thrd_success);
    while (status_of(get(server, "/probe/echo/x")) != 404)
        ;
    CHECK(traced("trace2", "fini\n") == 0);
    gate = fopen(in_folder("gate"), "w");
    CHECK(gate != NULL && fputs("through", gate) >= 0);
    fclose(gate);
    thrd_join(unloader, NULL);
    thrd_join(caller, NULL);
    CHECK_TEXT(body_of(call.answer), "through");
    CHECK(traced("trace2", "leaving\n") == 1 && traced("trace2", "fini\n") == 1);
    CHECK(traced("trace2", "drop\n") == 4 && status_of(get(server, "/nowhere")) == 404);
    CHECK(strstr(ask(server, "POST", "/v1/chat", "{\"model\":\"echo\",\"prompt\":\"secret\"}"),
                 "\"secret\"") != NULL);
    CHECK(strstr(get(server, "/taken"), "X-Probe") == NULL);

    /* A stream outlives the plugin that has begun it: its callback is still there. */
    snprintf(config, sizeof config, "trace = \"%s\"\n", in_folder("trace4"));
    CHECK_OK(nh_plugin_load(server, in_folder("probe.so"), config));
    CHECK(strlen(body_of(get(server, "/probe/stream"))) > 65536);

    /* Loaded and unloaded while others ask. */
    CHECK_OK(nh_plugin_unload(server, "probe"));
    crowd.server = server;
    for (i = 0; i < 4; i++)
        CHECK(thrd_create(&askers[i], keep_asking, &crowd) == thrd_success);
    for (i = 0; i < 50; i++) {
        int before = atomic_load(&crowd.answers);

        CHECK_OK(nh_plugin_load(server, in_folder("probe.so"), config));
        while (atomic_load(&crowd.answers) < before + 5)
            thrd_yield();
        CHECK_OK(nh_plugin_unload(server, "probe"));
    }
    atomic_store(&crowd.stop, 1);
    for (i = 0; i < 4; i++)
        thrd_join(askers[i], NULL);
    CHECK(traced("trace4", "fini\n") == 51);
    nh_server_free(server);
    return 0;
}
