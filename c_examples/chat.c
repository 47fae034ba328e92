/* chat.c: one prompt, its answer on the terminal as it comes.
 *
 *   ./chat Tell me about the sea                        (echo answers, offline)
 *   OPENAI_API_KEY=... ./chat -m gpt-4o-mini Tell me about the sea
 *   ./chat -c neurohttp.toml -m fast Tell me about the sea
 *
 * Interrupt it and the provider is told at once. The text goes to standard output, what it cost
 * to standard error; the exit status is 0 when the answer is whole.
 */
#include <inttypes.h>
#include <neurohttp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* Called on our own thread for each piece. Anything but 0 cancels. */
static int32_t print_piece(const nh_delta *delta, void *user_data)
{
    size_t len;
    const char *text = nh_delta_text(delta, &len);

    (void)user_data;
    if (fwrite(text, 1, len, stdout) != len || fflush(stdout) != 0)
        return 1; /* nobody reads any more */
    return interrupted;
}

static void complain(const char *what)
{
    fprintf(stderr, "chat: %s: %s\n", what, nh_last_error_message());
    if (nh_last_error_retry_after_ms() >= 0)
        fprintf(stderr, "chat: try again in %" PRId64 " ms\n", nh_last_error_retry_after_ms());
}

/* The words joined with blanks, as a JSON string. */
static char *quoted(char **words, int count)
{
    size_t room = 3;
    char *json, *at;

    for (int i = 0; i < count; i++)
        room += 6 * strlen(words[i]) + 1; /* at most \u00XX for each byte */
    at = json = malloc(room);
    if (json == NULL)
        return NULL;
    *at++ = '"';
    for (int i = 0; i < count; i++) {
        if (i > 0)
            *at++ = ' ';
        for (const unsigned char *c = (unsigned char *)words[i]; *c != 0; c++) {
            if (*c < 0x20 || *c == '"' || *c == '\\')
                at += sprintf(at, "\\u%04x", *c);
            else
                *at++ = (char)*c;
        }
    }
    strcpy(at, "\"");
    return json;
}

int main(int argc, char **argv)
{
    const char *config = NULL;
    char *model = NULL, *name = NULL, *prompt, *request;
    uint64_t asked, answered;
    nh_client *client;
    nh_reply *reply;
    nh_status status;
    size_t room;
    int word = 1;

    for (; word + 1 < argc && argv[word][0] == '-'; word += 2) {
        if (strcmp(argv[word], "-c") == 0)
            config = argv[word + 1];
        else if (strcmp(argv[word], "-m") == 0)
            model = argv[word + 1];
        else
            break;
    }
    if (word >= argc) {
        fprintf(stderr, "usage: chat [-c FILE] [-m MODEL] PROMPT...\n");
        return 2;
    }
    prompt = quoted(argv + word, argc - word);
    name = quoted(&model, model != NULL);
    room = prompt && name ? strlen(prompt) + strlen(name) + 100 : 0;
    request = malloc(room + 1);
    if (room == 0 || request == NULL)
        return 1;
    snprintf(request, room, "{%s%s%s\"messages\":[{\"role\":\"user\",\"content\":%s}]}",
             model ? "\"model\":" : "", model ? name : "", model ? "," : "", prompt);

    status = nh_client_new(config, NULL, &client);
    if (status != NH_OK) {
        complain("no client");
        return 2;
    }
    signal(SIGINT, on_signal);
    status = nh_chat_stream(client, request, NH_ZERO_TERMINATED, print_piece, NULL, &reply);
    if (status == NH_OK) {
        putchar('\n');
        if (nh_reply_usage(reply, &asked, &answered) == NH_OK)
            fprintf(stderr, "%s: %" PRIu64 " + %" PRIu64 " tokens\n", nh_reply_model(reply, NULL),
                    asked, answered);
        nh_reply_free(reply);
    } else {
        complain(nh_status_name(status));
    }
    nh_client_free(client);
    free(request);
    free(name);
    free(prompt);
    return status == NH_OK ? 0 : 1;
}
