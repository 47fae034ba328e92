/* deferred.c: answers that come later, from a thread of our own.
 *
 *   ./deferred 8080
 *   curl -d 'slow work' http://127.0.0.1:8080/jobs
 *
 * The handler runs on the loop and returns at once with the answer deferred; a worker thread takes
 * the job from a queue, works for a while and sends. Thousands of requests may wait like this:
 * none of them holds a thread.
 */
#include <neurohttp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>
#include <time.h>

struct job {
    struct job *next;
    nh_request *request; /* lent to us until the answer is sent */
    nh_deferred *answer;
};

static nh_server *server;
static struct {
    mtx_t lock;
    cnd_t changed;
    struct job *first, **end;
    int closing;
} queue;

static void on_signal(int number)
{
    (void)number;
    nh_server_stop(server);
}

static void check(nh_status status, const char *what)
{
    if (status == NH_OK)
        return;
    fprintf(stderr, "deferred: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

static nh_status submit(nh_request *request, nh_response *response, void *user_data)
{
    struct job *job = malloc(sizeof *job);
    nh_status status;

    (void)user_data;
    if (job == NULL)
        return NH_ERR_MEMORY;
    job->next = NULL;
    job->request = request;
    status = nh_response_defer(response, &job->answer);
    if (status != NH_OK) {
        free(job);
        return status;
    }
    mtx_lock(&queue.lock);
    *queue.end = job;
    queue.end = &job->next;
    cnd_signal(&queue.changed);
    mtx_unlock(&queue.lock);
    return NH_OK;
}

/* The worker: takes jobs until the queue is closed and empty. */
static int work(void *unused)
{
    struct timespec effort = {.tv_sec = 0, .tv_nsec = 20 * 1000 * 1000};
    struct job *job;
    nh_status status;
    const void *body;
    size_t len;

    (void)unused;
    for (;;) {
        mtx_lock(&queue.lock);
        while (queue.first == NULL && !queue.closing)
            cnd_wait(&queue.changed, &queue.lock);
        job = queue.first;
        if (job != NULL && (queue.first = job->next) == NULL)
            queue.end = &queue.first;
        mtx_unlock(&queue.lock);
        if (job == NULL)
            return 0;
        if (nh_deferred_cancelled(job->answer)) {
            nh_deferred_free(job->answer); /* the client has gone: save the effort */
        } else {
            thrd_sleep(&effort, NULL); /* stands for a query, a file, a model… */
            body = nh_request_body(job->request, &len);
            status = nh_deferred_send(job->answer, 200, "text/plain", body, len);
            if (status != NH_OK && status != NH_ERR_CLOSED)
                nh_deferred_free(job->answer); /* those two have ended it */
        }
        free(job);
    }
}

int main(int argc, char **argv)
{
    nh_server_options options;
    char listen[64];
    thrd_t worker;

    mtx_init(&queue.lock, mtx_plain);
    cnd_init(&queue.changed);
    queue.end = &queue.first;
    if (thrd_create(&worker, work, NULL) != thrd_success)
        return 1;

    snprintf(listen, sizeof listen, "127.0.0.1:%s", argc > 1 ? argv[1] : "8080");
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    check(nh_server_new(&options, &server), "new");
    check(nh_server_route(server, "POST", "/jobs", 0, submit, NULL, NULL), "/jobs");
    check(nh_server_start(server), "start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);
    nh_server_wait(server, -1); /* the drain waits for deferred answers too */

    mtx_lock(&queue.lock);
    queue.closing = 1;
    cnd_signal(&queue.changed);
    mtx_unlock(&queue.lock);
    thrd_join(worker, NULL);
    nh_server_free(server);
    cnd_destroy(&queue.changed);
    mtx_destroy(&queue.lock);
    return 0;
}
