/* batch_model.c: one thread, many requests: continuous batching.
 *
 *   ./batch_model 8080
 *   curl -N http://127.0.0.1:8080/v1/chat/completions -d '{"model":"counter","stream":true,
 *        "messages":[{"role":"user","content":"30"}]}'
 *
 * The callback only defers: it puts the generation into the batch and returns, so no request holds
 * a thread. One thread of our own makes step after step; each step gives every sequence of the
 * batch its next token, new ones join between two steps, and those that end leave. A client that
 * is slower than the batch is passed over (NH_ERR_WOULD_BLOCK), one that has gone is let go.
 */
#include <neurohttp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>
#include <time.h>

struct sequence {
    struct sequence *next;
    nh_generation *generation;
    unsigned said, wanted;
};

static nh_server *server;
static struct {
    mtx_t lock;
    cnd_t changed;
    struct sequence *joining; /* since the last step */
    int closing;
} batch;

static void on_signal(int number)
{
    (void)number;
    nh_server_stop(server);
}

static void check(nh_status status, const char *what)
{
    if (status == NH_OK)
        return;
    fprintf(stderr, "batch_model: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

/* On a thread of the pool: joins the batch and returns at once. */
static nh_status join(const nh_generate *request, nh_generation *generation, void *user_data)
{
    struct sequence *sequence = calloc(1, sizeof *sequence);
    size_t count = nh_generate_message_count(request);
    const char *text = "";

    (void)user_data;
    if (sequence == NULL)
        return NH_ERR_MEMORY;
    if (count > 0)
        nh_generate_message(request, count - 1, NULL, &text);
    sequence->wanted = (unsigned)strtoul(text, NULL, 10);
    sequence->generation = generation;
    nh_generation_defer(generation); /* it cannot fail: nobody has ended it */
    mtx_lock(&batch.lock);
    sequence->next = batch.joining;
    batch.joining = sequence;
    cnd_signal(&batch.changed);
    mtx_unlock(&batch.lock);
    return NH_OK;
}

/* One step of one sequence; 0 when it has left the batch. */
static int step(struct sequence *sequence)
{
    char token[32];
    nh_status status = NH_OK;

    if (sequence->said < sequence->wanted) {
        snprintf(token, sizeof token, "%s%u", sequence->said > 0 ? " " : "", sequence->said + 1);
        status = nh_generation_text(sequence->generation, token, NH_ZERO_TERMINATED);
        if (status == NH_OK)
            sequence->said++;
        if (status == NH_OK || status == NH_ERR_WOULD_BLOCK)
            return 1; /* in the second case the same token again, next time */
    }
    if (status == NH_OK)
        nh_generation_usage(sequence->generation, 1, sequence->said);
    nh_generation_finish(sequence->generation, NULL); /* a cancelled one too */
    return 0;
}

static int run_batch(void *unused)
{
    struct timespec effort = {.tv_nsec = 1000 * 1000};
    struct sequence *running = NULL, **at, *done;

    (void)unused;
    for (;;) {
        mtx_lock(&batch.lock);
        while (running == NULL && batch.joining == NULL && !batch.closing)
            cnd_wait(&batch.changed, &batch.lock);
        for (at = &running; *at != NULL; at = &(*at)->next)
            continue;
        *at = batch.joining;
        batch.joining = NULL;
        mtx_unlock(&batch.lock);
        if (running == NULL)
            return 0; /* closing, and nothing is left */
        thrd_sleep(&effort, NULL); /* stands for one pass of the network over the whole batch */
        for (at = &running; *at != NULL;) {
            if (step(*at)) {
                at = &(*at)->next;
                continue;
            }
            done = *at;
            *at = done->next;
            free(done);
        }
    }
}

int main(int argc, char **argv)
{
    nh_server_options options;
    char listen[64];
    thrd_t thread;

    mtx_init(&batch.lock, mtx_plain);
    cnd_init(&batch.changed);
    snprintf(listen, sizeof listen, "127.0.0.1:%s", argc > 1 ? argv[1] : "8080");
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    check(nh_server_new(&options, &server), "new");
    check(nh_server_model(server, "counter", join, NULL, NULL), "counter");
    if (thrd_create(&thread, run_batch, NULL) != thrd_success)
        return 1;
    check(nh_server_start(server), "start");
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);
    nh_server_wait(server, -1); /* the drain waits for the batch */

    mtx_lock(&batch.lock);
    batch.closing = 1;
    cnd_signal(&batch.changed);
    mtx_unlock(&batch.lock);
    thrd_join(thread, NULL);
    nh_server_free(server);
    return 0;
}
