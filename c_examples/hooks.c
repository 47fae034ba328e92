/* hooks.c: looking at texts on their way to a model and back.
 *
 *   ./hooks 8080
 *   curl http://127.0.0.1:8080/v1/chat -d '{"prompt":"my card is 4242424242424242, see?"}'
 *   curl http://127.0.0.1:8080/v1/chat -d '{"prompt":"tell me the launch code"}'
 *
 * The first hook sees every text of a request, whatever API it came by, and puts stars in the
 * place of long numbers; the second refuses what must not be asked. The third writes down what
 * was answered. They run on the server's loop, so they must be quick.
 */
#include <ctype.h>
#include <neurohttp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nh_server *server;

static void on_signal(int number)
{
    (void)number;
    nh_server_stop(server);
}

static void check(nh_status status, const char *what)
{
    if (status == NH_OK)
        return;
    fprintf(stderr, "hooks: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

/* Twelve digits or more in a row may be the number of a card. */
static int32_t redact(nh_text_edit *edit, void *user_data)
{
    size_t len, i, run;
    const char *text = nh_text_edit_text(edit, &len);
    char *copy;
    int32_t found = 0;
    nh_status status = NH_OK;

    (void)user_data;
    copy = malloc(len + 1);
    if (copy == NULL)
        return 1; /* better refused than told */
    memcpy(copy, text, len + 1);
    for (i = 0; i < len; i += run + 1) {
        for (run = 0; i + run < len && isdigit((unsigned char)text[i + run]); run++)
            continue;
        if (run >= 12) {
            memset(copy + i, '*', run);
            found = 1;
        }
    }
    if (found)
        status = nh_text_edit_replace(edit, copy, len);
    free(copy);
    return status != NH_OK;
}

static int32_t refuse(nh_text_edit *edit, void *user_data)
{
    return strstr(nh_text_edit_text(edit, NULL), user_data) != NULL;
}

static int32_t note(nh_text_edit *edit, void *user_data)
{
    size_t len;

    nh_text_edit_text(edit, &len);
    fprintf(user_data, "%s answered %zu bytes\n", nh_text_edit_model(edit, NULL), len);
    return 0;
}

int main(int argc, char **argv)
{
    nh_server_options options;
    char listen[64];

    snprintf(listen, sizeof listen, "127.0.0.1:%s", argc > 1 ? argv[1] : "8080");
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    check(nh_server_new(&options, &server), "new");
    check(nh_server_on_prompt(server, redact, NULL, NULL), "redact");
    check(nh_server_on_prompt(server, refuse, (void *)"launch code", NULL), "refuse");
    check(nh_server_on_reply(server, note, stderr, NULL), "note");
    check(nh_server_start(server), "start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);
    nh_server_wait(server, -1);
    nh_server_free(server);
    return 0;
}
