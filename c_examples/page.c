/* page.c PORT FILE: serves one file from memory at /page, on one worker, with nothing else on.
 *
 *   ./page 8080 index.html
 *   curl http://127.0.0.1:8080/page
 */
#include <neurohttp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nh_server *server;

struct page {
    char *data;
    size_t len;
    const char *type;
};

static void on_signal(int number)
{
    (void)number;
    nh_server_stop(server);
}

static void check(nh_status status, const char *what)
{
    if (status == NH_OK)
        return;
    fprintf(stderr, "page: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

/* The whole file in memory, or -1. */
static int load(const char *path, struct page *page)
{
    FILE *file = fopen(path, "rb");
    long size = -1;

    if (file != NULL && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0)
        goto fail;
    page->len = (size_t)size;
    page->data = malloc(page->len + 1);
    if (page->data == NULL || fread(page->data, 1, page->len, file) != page->len)
        goto fail_data;
    page->type = strstr(path, ".html") ? "text/html" : "application/octet-stream";
    fclose(file);
    return 0;

fail_data:
    free(page->data);
fail:
    if (file != NULL)
        fclose(file);
    return -1;
}

static nh_status serve(nh_request *request, nh_response *response, void *user_data)
{
    const struct page *page = user_data;

    (void)request;
    return nh_response_send(response, 200, page->type, page->data, page->len);
}

int main(int argc, char **argv)
{
    nh_server_options options;
    struct page page;
    char listen[64];

    if (argc != 3) {
        fputs("usage: page PORT FILE\n", stderr);
        return 2;
    }
    if (load(argv[2], &page) != 0) {
        fprintf(stderr, "page: cannot read %s\n", argv[2]);
        return 1;
    }
    snprintf(listen, sizeof listen, "127.0.0.1:%s", argv[1]);
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    options.workers = 1;
    options.flags = NH_SERVER_NO_ENV | NH_SERVER_NO_BUILTINS;
    options.config_text = "[firewall]\nenable = false\n"
                          "[log]\nlevel = \"warn\"\n";
    check(nh_server_new(&options, &server), "new");
    check(nh_server_route(server, "GET", "/page", 0, serve, &page, NULL), "/page");
    check(nh_server_start(server), "start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);

    nh_server_wait(server, -1);
    nh_server_free(server);
    free(page.data);
    return 0;
}
