/* model.c: being the model. A small generator of our own behind OpenAI's and Anthropic's APIs.
 *
 *   ./model 8080
 *   curl http://127.0.0.1:8080/v1/chat/completions -d '{"model":"parrot","stream":true,
 *        "messages":[{"role":"user","content":"the sea is wide and the sea is deep"}]}'
 *   curl http://127.0.0.1:8080/v1/messages -d '{"model":"parrot","max_tokens":20,
 *        "messages":[{"role":"user","content":"to be or not to be"}]}'
 *
 * The "model" learns which word follows which from the conversation and walks along. The callback
 * runs on a thread of the server's pool and may take its time; nh_generation_text waits while the
 * client is slower than we are, and says NH_ERR_CANCELLED when it has gone.
 */
#include <neurohttp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 2048

struct words {
    char *text; /* the words, each with a NUL behind it */
    const char *word[WORDS_MAX];
    size_t count;
};

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
    fprintf(stderr, "model: %s: %s\n", what, nh_last_error_message());
    exit(1);
}

/* Cuts every message but the system prompts into words. */
static nh_status learn(const nh_generate *request, struct words *words)
{
    size_t i, len = 0, count = nh_generate_message_count(request);
    const char *role, *text;
    char *at;

    for (i = 0; i < count; i++)
        if (nh_generate_message(request, i, &role, &text) == NH_OK && strcmp(role, "system") != 0)
            len += strlen(text) + 1;
    words->text = calloc(1, len + 1);
    if (words->text == NULL)
        return NH_ERR_MEMORY;
    for (i = 0; i < count; i++)
        if (nh_generate_message(request, i, &role, &text) == NH_OK && strcmp(role, "system") != 0)
            strcat(strcat(words->text, text), " ");
    words->count = 0;
    for (at = words->text; words->count < WORDS_MAX; at += strlen(at) + 1) {
        at += strspn(at, " \t\r\n");
        if (*at == '\0')
            break;
        words->word[words->count++] = at;
        at[strcspn(at, " \t\r\n")] = '\0';
    }
    return NH_OK;
}

/* A place where `word` stands and something follows; the n-th of them, as the walk goes on. */
static size_t next_place(const struct words *words, size_t place, size_t n)
{
    size_t i, matches = 0;

    for (i = 0; i + 1 < words->count; i++)
        matches += strcmp(words->word[i], words->word[place]) == 0;
    if (matches == 0)
        return 0;
    n %= matches;
    for (i = 0; i + 1 < words->count; i++)
        if (strcmp(words->word[i], words->word[place]) == 0 && n-- == 0)
            return i + 1;
    return 0;
}

/* "max_tokens" or "max_completion_tokens" of the request, at most 64. */
static size_t tokens_wanted(const nh_generate *request)
{
    static const char *const members[] = {"\"max_completion_tokens\":", "\"max_tokens\":"};
    const char *json = nh_generate_json(request, NULL), *found;
    unsigned long wanted = 64, i;

    for (i = 0; i < 2; i++) /* good enough for an example; a real one parses the JSON */
        if ((found = strstr(json, members[i])) != NULL)
            wanted = strtoul(found + strlen(members[i]), NULL, 10);
    return wanted < 64 ? wanted : 64;
}

static nh_status generate(const nh_generate *request, nh_generation *generation, void *user_data)
{
    struct words words;
    size_t place = 0, said, wanted = tokens_wanted(request);
    nh_status status = learn(request, &words);
    char token[256];

    (void)user_data;
    if (status != NH_OK)
        return status;
    for (said = 0; said < wanted && words.count > 0 && status == NH_OK; said++) {
        snprintf(token, sizeof token, "%s%.200s", said > 0 ? " " : "", words.word[place]);
        status = nh_generation_text(generation, token, NH_ZERO_TERMINATED);
        place = next_place(&words, place, said);
        if (place == 0)
            break;
    }
    if (status == NH_OK) {
        nh_generation_usage(generation, words.count, said);
        nh_generation_finish(generation, said == wanted ? "length" : "stop");
    }
    free(words.text);
    return status == NH_ERR_CANCELLED ? NH_OK : status; /* the client has gone: no fault of ours */
}

int main(int argc, char **argv)
{
    nh_server_options options;
    char listen[64];

    snprintf(listen, sizeof listen, "127.0.0.1:%s", argc > 1 ? argv[1] : "8080");
    nh_server_options_init(&options, sizeof options);
    options.listen = listen;
    check(nh_server_new(&options, &server), "new");
    check(nh_server_model(server, "parrot", generate, NULL, NULL), "parrot");
    check(nh_server_start(server), "start");

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on 127.0.0.1:%u\n", (unsigned)nh_server_port(server));
    fflush(stdout);
    nh_server_wait(server, -1);
    nh_server_free(server);
    return 0;
}
