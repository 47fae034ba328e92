/* Hooks on prompts, deltas and replies: order, edits, drops, refusals, in every API, over echo and
 * over a model of the program's own; and counting tokens. */
#include "check.h"

static atomic_int prompts, deltas, replies, at_ends;

/* "secret" becomes "******", "drop me" goes, "forbidden" is refused. */
static int32_t clean(nh_text_edit *edit, void *user_data)
{
    size_t len;
    const char *text = nh_text_edit_text(edit, &len);
    const char *role = nh_text_edit_role(edit, NULL), *found;
    char copy[256];

    CHECK(text != NULL && strlen(text) == len && len < sizeof copy);
    CHECK_TEXT(nh_text_edit_model(edit, &len), "echo");
    CHECK(len == 4 && role != NULL);
    atomic_fetch_add((atomic_int *)user_data, 1);
    if (strstr(text, "forbidden") != NULL)
        return 1;
    if (strcmp(text, "drop me") == 0)
        CHECK_OK(nh_text_edit_replace(edit, "", 0));
    found = strstr(text, "secret");
    if (found != NULL) {
        strcpy(copy, text);
        memcpy(copy + (found - text), "******", 6);
        CHECK_STATUS(nh_text_edit_replace(edit, "\xff", 1), NH_ERR_INVALID_ARGUMENT);
        CHECK_OK(nh_text_edit_replace(edit, copy, NH_ZERO_TERMINATED));
    }
    return 0;
}

/* Runs behind `clean` and sees what that left. */
static int32_t second(nh_text_edit *edit, void *user_data)
{
    (void)user_data;
    CHECK(strstr(nh_text_edit_text(edit, NULL), "secret") == NULL);
    return 0;
}

static int32_t on_delta(nh_text_edit *edit, void *user_data)
{
    const char *text = nh_text_edit_text(edit, NULL);

    (void)user_data;
    CHECK_TEXT(nh_text_edit_role(edit, NULL), "assistant");
    atomic_fetch_add(&deltas, 1);
    if (strncmp(text, "one", 3) == 0)
        return nh_text_edit_replace(edit, "1 ", 2);
    if (strncmp(text, "two", 3) == 0)
        return nh_text_edit_replace(edit, NULL, 0);
    return strncmp(text, "stop!", 5) == 0;
}

static int32_t on_reply(nh_text_edit *edit, void *user_data)
{
    const char *text = nh_text_edit_text(edit, NULL);

    (void)user_data;
    atomic_fetch_add(&replies, 1);
    if (strcmp(text, "1 three") == 0) {
        /* A stream at its end. */
        CHECK_STATUS(nh_text_edit_replace(edit, "x", 1), NH_ERR_STATE);
        atomic_fetch_add(&at_ends, 1);
        return 1;
    }
    if (strcmp(text, "shout") == 0)
        return nh_text_edit_replace(edit, "SHOUT", 5);
    return strcmp(text, "unsayable") == 0;
}

struct api {
    const char *path, *format; /* of the last user text */
};

static const struct api apis[] = {
    {"/v1/chat/completions", "{\"model\":\"echo\",\"messages\":[{\"role\":\"user\",\"content\":"
                             "\"drop me\"},{\"role\":\"user\",\"content\":\"%s\"}]%s}"},
    {"/v1/completions", "{\"model\":\"echo\",\"prompt\":\"%s\"%s}"},
    {"/v1/responses", "{\"model\":\"echo\",\"instructions\":\"x\",\"input\":\"%s\"%s}"},
    {"/v1/messages", "{\"model\":\"echo\",\"max_tokens\":99,\"messages\":[{\"role\":\"user\","
                     "\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}]%s}"},
    {"/v1/chat", "{\"model\":\"echo\",\"prompt\":\"%s\"%s}"},
};

static char *put(const nh_server *server, const struct api *api, const char *text, int stream)
{
    char body[512];

    snprintf(body, sizeof body, api->format, text, stream ? ",\"stream\":true" : "");
    return ask(server, "POST", api->path, body);
}

static void in_every_api(const nh_server *server)
{
    const struct api *api;
    const char *text;

    for (api = apis; api < apis + sizeof apis / sizeof *apis; api++) {
        text = put(server, api, "a secret here", 0);
        CHECK(status_of(text) == 200 && strstr(text, "a ****** here") != NULL);
        text = put(server, api, "forbidden", 0);
        CHECK(status_of(text) == 403 && strstr(text, "\"error\"") != NULL);
        CHECK(status_of(put(server, api, "forbidden", 1)) == 403);

        CHECK(strstr(put(server, api, "shout", 0), "\"SHOUT\"") != NULL);
        text = put(server, api, "unsayable", 0);
        CHECK(status_of(text) == 403 && strstr(text, "unsayable") == NULL);

        text = put(server, api, "one two three", 1);
        CHECK(status_of(text) == 200 && strstr(text, "\"1 \"") && strstr(text, "\"three\""));
        CHECK(strstr(text, "\"one") == NULL && strstr(text, "two") == NULL);
        /* Once it has begun, a refusal is an error event without a mark of success. */
        text = put(server, api, "go stop! on", 1);
        CHECK(status_of(text) == 200 && strstr(text, "refused by the operator") != NULL);
        CHECK(strstr(text, "[DONE]") == NULL && strstr(text, "message_stop") == NULL);
        CHECK(strstr(text, "response.completed") == NULL && strstr(text, "stop!") == NULL);
    }
    CHECK(atomic_load(&at_ends) == 5);
    CHECK(atomic_load(&prompts) > 0 && atomic_load(&deltas) > 0 && atomic_load(&replies) > 0);
}

static void in_process(nh_server *server)
{
    nh_client *client = NULL;
    nh_reply *reply = NULL;

    CHECK_OK(nh_server_client(server, &client));
    CHECK_OK(nh_prompt(client, "echo", "my secret", &reply));
    CHECK_TEXT(nh_reply_text(reply, NULL), "my ******");
    nh_reply_free(reply);
    CHECK_STATUS(nh_prompt(client, "echo", "forbidden", &reply), NH_ERR_DENIED);
    CHECK(nh_last_error_http() == 403);
    nh_client_free(client);
}

static void misuse(nh_server *server)
{
    atomic_int drops = 0;
    size_t len = 4711;

    CHECK_STATUS(nh_server_on_prompt(NULL, clean, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_on_delta(server, NULL, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_on_reply(NULL, NULL, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK(atomic_load(&drops) == 3);
    CHECK(nh_text_edit_text(NULL, &len) == NULL && nh_text_edit_model(NULL, &len) == NULL);
    CHECK(nh_text_edit_role(NULL, &len) == NULL && len == 4711);
    CHECK_STATUS(nh_text_edit_replace(NULL, "x", 1), NH_ERR_INVALID_ARGUMENT);
}

static void tokens(void)
{
    uint64_t count = 4711;

    CHECK_STATUS(nh_count_tokens("p50k", "x", 1, &count), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_count_tokens(NULL, "x", 1, &count), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_count_tokens("o200k", NULL, 1, &count), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_count_tokens("o200k", "\xff", 1, &count), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_count_tokens("o200k", "x", 1, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK(count == 4711);
    CHECK_OK(nh_count_tokens("o200k", "hello world", NH_ZERO_TERMINATED, &count));
    CHECK(count == 2);
    CHECK_OK(nh_count_tokens("o200k", "", 0, &count));
    CHECK(count == 0);
}

int main(void)
{
    nh_server *server = quiet_server();
    atomic_int drops = 0;

    CHECK_OK(nh_server_on_prompt(server, clean, &prompts, NULL));
    CHECK_OK(nh_server_on_prompt(server, second, NULL, NULL));
    CHECK_OK(nh_server_start(server));
    CHECK_OK(nh_server_on_delta(server, on_delta, &drops, count_up)); /* while serving */
    CHECK_OK(nh_server_on_reply(server, on_reply, &drops, count_up));
    in_every_api(server);
    in_process(server);
    misuse(server);
    CHECK(atomic_load(&drops) == 0);
    nh_server_free(server);
    CHECK(atomic_load(&drops) == 2);
    tokens();
    return 0;
}
