/* Being the model: the same callback behind every API, whole and streaming, over HTTP and in
 * process; tools, usage, errors, deferral, cancelling, and every misuse. */
#include "check.h"

#define MESSAGES "\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},"                     \
                 "{\"role\":\"user\",\"content\":\"hello\"}]"

static const char *const chat = "/v1/chat/completions";

static atomic_int cancelled, calls;
static nh_generation *_Atomic kept; /* what a callback leaves behind */

static const char *user_text(const nh_generate *request)
{
    const char *role, *text = NULL;
    size_t count = nh_generate_message_count(request);

    CHECK(count > 0);
    CHECK_OK(nh_generate_message(request, count - 1, &role, &text));
    CHECK_TEXT(role, "user");
    return text;
}

static nh_status answer(const nh_generate *request, nh_generation *generation, void *user_data)
{
    const char *json, *text = user_text(request), *role = "unchanged";
    size_t len;

    CHECK(user_data == &calls);
    atomic_fetch_add(&calls, 1);
    json = nh_generate_json(request, &len);
    CHECK(json != NULL && strlen(json) == len && strstr(json, "\"messages\"") != NULL);
    CHECK_STATUS(nh_generate_message(request, 1000, &role, NULL), NH_ERR_NOT_FOUND);
    CHECK_TEXT(role, "unchanged");
    CHECK(nh_generation_cancelled(generation) == 0);

    if (strcmp(text, "fail") == 0)
        return NH_ERR_IO;
    if (strcmp(text, "too long") == 0)
        return nh_generation_fail(generation, NH_ERR_INVALID_ARGUMENT, "The prompt is too long.");
    if (strcmp(text, "break") == 0) {
        CHECK_OK(nh_generation_text(generation, "half ", NH_ZERO_TERMINATED));
        return NH_ERR_IO;
    }
    if (strcmp(text, "tool") == 0) {
        CHECK_STATUS(nh_generation_tool_call(generation, "c", "f", "{"), NH_ERR_INVALID_ARGUMENT);
        CHECK_STATUS(nh_generation_tool_call(generation, "c", NULL, "{}"),
                     NH_ERR_INVALID_ARGUMENT);
        CHECK_OK(nh_generation_tool_call(generation, "c1", "weather", "{\"city\":\"Rome\"}"));
        CHECK_OK(nh_generation_tool_call(generation, NULL, "now", NULL));
        return NH_OK;
    }
    if (strcmp(text, "flood") == 0) {
        /* A client that stops reading: this waits, then is told that nobody listens. */
        static char piece[1000];
        nh_status status;

        memset(piece, 'x', sizeof piece);
        while ((status = nh_generation_text(generation, piece, sizeof piece)) == NH_OK)
            continue;
        CHECK(status == NH_ERR_CANCELLED && nh_generation_cancelled(generation) == 1);
        atomic_fetch_add(&cancelled, 1);
        return NH_OK;
    }
    CHECK_STATUS(nh_generation_text(generation, "\xff", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_OK(nh_generation_text(generation, "Hello", 5));
    CHECK_OK(nh_generation_text(generation, "", 0));
    CHECK_OK(nh_generation_text(generation, ", w\xc3\xb6rld", NH_ZERO_TERMINATED));
    CHECK_OK(nh_generation_usage(generation, 1, 1));
    CHECK_OK(nh_generation_usage(generation, 7, 3));
    if (strcmp(text, "length") == 0) {
        CHECK_STATUS(nh_generation_finish(generation, "enough"), NH_ERR_INVALID_ARGUMENT);
        CHECK_OK(nh_generation_finish(generation, "length"));
        CHECK_STATUS(nh_generation_finish(generation, NULL), NH_ERR_STATE);
        CHECK_STATUS(nh_generation_text(generation, "late", 4), NH_ERR_STATE);
        CHECK_STATUS(nh_generation_usage(generation, 1, 1), NH_ERR_STATE);
        CHECK_STATUS(nh_generation_defer(generation), NH_ERR_STATE);
    }
    atomic_store(&kept, generation);
    return NH_OK;
}

/* Puts the answer off: the main thread goes on with it. */
static nh_status later(const nh_generate *request, nh_generation *generation, void *user_data)
{
    (void)request;
    (void)user_data;
    CHECK_OK(nh_generation_defer(generation));
    atomic_store(&kept, generation);
    return NH_ERR_IO; /* ignored */
}

static nh_generation *await_kept(void)
{
    nh_generation *generation;
    int turn;

    for (turn = 0; turn < 20000; turn++) {
        if ((generation = atomic_exchange(&kept, NULL)) != NULL)
            return generation;
        poll(NULL, 0, 1);
    }
    CHECK(!"the model was called");
    return NULL;
}

static char *post(const nh_server *server, const char *path, const char *rest)
{
    char body[1024];

    snprintf(body, sizeof body, "{\"model\":\"mine\",%s}", rest);
    return ask(server, "POST", path, body);
}

static char *say_to_chat(const nh_server *server, const char *text, const char *rest)
{
    char body[512];

    snprintf(body, sizeof body, "\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]%s", text,
             rest);
    return post(server, chat, body);
}

static void in_every_api(const nh_server *server)
{
    static const struct {
        const char *path, *body, *whole[4], *stream[4];
    } apis[] = {
        {"/v1/chat/completions", MESSAGES,
         {"\"chat.completion\"", "\"content\":\"Hello, w\xc3\xb6rld\"", "\"prompt_tokens\":7",
          "\"finish_reason\":\"stop\""},
         {"chat.completion.chunk", "\"content\":\"Hello\"", "\"finish_reason\":\"stop\"",
          "data: [DONE]"}},
        {"/v1/completions", "\"prompt\":\"hello\"",
         {"text_completion", "Hello, w\xc3\xb6rld", "\"completion_tokens\":3", "stop"},
         {"text_completion", "\"Hello\"", "stop", "data: [DONE]"}},
        {"/v1/responses", "\"input\":\"hello\"",
         {"\"object\":\"response\"", "Hello, w\xc3\xb6rld", "\"input_tokens\":7", "completed"},
         {"response.created", "response.output_text.delta", "response.completed",
          "\"input_tokens\":7"}},
        {"/v1/messages", "\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]",
         {"\"type\":\"message\"", "Hello, w\xc3\xb6rld", "\"output_tokens\":3", "end_turn"},
         {"event: message_start", "text_delta", "event: message_delta", "event: message_stop"}},
        {"/v1/chat", "\"prompt\":\"hello\"",
         {"\"response\":\"Hello, w\xc3\xb6rld\"", "\"model\":\"mine\"", "\"completion_tokens\":3",
          "usage"},
         {"\"delta\":\"Hello\"", "\"done\":true", "\"finish_reason\":\"stop\"", "data: [DONE]"}},
    };
    char body[512];
    const char *text;
    size_t i, j;

    for (i = 0; i < sizeof apis / sizeof *apis; i++) {
        text = post(server, apis[i].path, apis[i].body);
        CHECK(status_of(text) == 200);
        for (j = 0; j < 4; j++)
            CHECK(strstr(text, apis[i].whole[j]) != NULL);
        CHECK(strstr(text, "x-neurohttp-provider: host\r\n") != NULL);
        CHECK(strstr(text, "x-neurohttp-model: mine\r\n") != NULL);
        snprintf(body, sizeof body, "%s,\"stream\":true", apis[i].body);
        text = post(server, apis[i].path, body);
        CHECK(status_of(text) == 200 && strstr(text, "text/event-stream") != NULL);
        for (j = 0; j < 4; j++)
            CHECK(strstr(text, apis[i].stream[j]) != NULL);
    }
    text = get(server, "/v1/models");
    CHECK(strstr(text, "\"id\":\"mine\"") != NULL);
    /* The first model of the program's own is the default; count_tokens needs no model's help. */
    text = ask(server, "POST", "/v1/chat", "{\"prompt\":\"hello\"}");
    CHECK(strstr(text, "\"model\":\"mine\"") != NULL);
}

static void ends_and_errors(const nh_server *server)
{
    const char *text;

    CHECK(strstr(say_to_chat(server, "length", ""), "\"finish_reason\":\"length\"") != NULL);

    text = say_to_chat(server, "tool", "");
    CHECK(status_of(text) == 200 && strstr(text, "\"content\":null") != NULL);
    CHECK(strstr(text, "\"arguments\":\"{\\\"city\\\":\\\"Rome\\\"}\"") != NULL);
    CHECK(strstr(text, "\"finish_reason\":\"tool_calls\"") != NULL);
    text = say_to_chat(server, "tool", ",\"stream\":true");
    CHECK(strstr(text, "\"id\":\"c1\"") != NULL && strstr(text, "\"index\":1") != NULL);
    CHECK(strstr(text, "\"finish_reason\":\"tool_calls\"") != NULL);
    text = post(server, "/v1/messages",
                "\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"tool\"}]");
    CHECK(strstr(text, "\"input\":{\"city\":\"Rome\"}") && strstr(text, "\"tool_use\""));
    /* A client that knows a tool as a custom one gets text: what is no `input` stays as it is. */
    text = post(server, "/v1/responses",
                "\"input\":\"tool\",\"tools\":[{\"type\":\"custom\",\"name\":\"weather\"},"
                "{\"type\":\"function\",\"name\":\"now\"}]");
    CHECK(strstr(text, "\"custom_tool_call\"") && strstr(text, "\"function_call\""));
    CHECK(strstr(text, "\"input\":\"{\\\"city\\\":\\\"Rome\\\"}\"") != NULL);

    text = say_to_chat(server, "fail", "");
    CHECK(status_of(text) == 500 && strstr(text, "model_failed") != NULL);
    CHECK(status_of(say_to_chat(server, "fail", ",\"stream\":true")) == 500);
    text = say_to_chat(server, "too long", "");
    CHECK(status_of(text) == 400 && strstr(text, "The prompt is too long.") != NULL);
    /* What has gone out cannot be taken back: an error event, and no mark of success. */
    text = say_to_chat(server, "break", ",\"stream\":true");
    CHECK(status_of(text) == 200 && strstr(text, "half ") && strstr(text, "\"error\""));
    CHECK(strstr(text, "[DONE]") == NULL);
    CHECK(status_of(say_to_chat(server, "break", "")) == 500);
}

static void a_client_that_goes(const nh_server *server)
{
    static const char body[] = "{\"model\":\"mine\",\"stream\":true,\"messages\":[{\"role\":\"user\","
                               "\"content\":\"flood\"}]}";
    char head[256];
    int fd = dial(server);

    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
             chat, sizeof body - 1);
    say(fd, head);
    say(fd, body);
    CHECK(recv(fd, head, sizeof head, MSG_WAITALL) == sizeof head); /* it streams */
    close(fd);
    wait_for(&cancelled, 1);
}

static int32_t count_deltas(const nh_delta *delta, void *user_data)
{
    *(int *)user_data += *nh_delta_text(delta, NULL) != '\0';
    return 0;
}

static void in_process(nh_server *server)
{
    static const char json[] = "{\"model\":\"mine\"," MESSAGES "}";
    nh_client *client = NULL;
    nh_reply *reply = NULL;
    uint64_t prompt_tokens, completion_tokens;
    int deltas = 0;

    CHECK_OK(nh_server_client(server, &client));
    CHECK_OK(nh_chat(client, json, NH_ZERO_TERMINATED, &reply));
    CHECK_TEXT(nh_reply_text(reply, NULL), "Hello, w\xc3\xb6rld");
    CHECK_OK(nh_reply_usage(reply, &prompt_tokens, &completion_tokens));
    CHECK(prompt_tokens == 7 && completion_tokens == 3);
    nh_reply_free(reply);
    CHECK_OK(nh_chat_stream(client, json, NH_ZERO_TERMINATED, count_deltas, &deltas, &reply));
    CHECK(deltas == 2);
    CHECK_TEXT(nh_reply_text(reply, NULL), "Hello, w\xc3\xb6rld");
    CHECK_OK(nh_reply_usage(reply, &prompt_tokens, NULL));
    CHECK(prompt_tokens == 7);
    nh_reply_free(reply);
    CHECK_STATUS(nh_prompt(client, "mine", "fail", &reply), NH_ERR_UPSTREAM);
    CHECK_STATUS(nh_prompt(client, "mine", "too long", &reply), NH_ERR_INVALID_ARGUMENT);
    nh_client_free(client);
}

static int ask_later(void *server)
{
    const char *text = ask(server, "POST", chat, "{\"model\":\"later\",\"stream\":true," MESSAGES "}");

    CHECK(strstr(text, "\"content\":\"one\"") && strstr(text, "\"content\":\"two\""));
    CHECK(strstr(text, "[DONE]") != NULL);
    return 0;
}

static void deferred(nh_server *server)
{
    static char piece[60000];
    nh_generation *generation;
    thrd_t thread;
    int fd, written = 0;
    nh_status status;
    char head[256];
    const char *body = "{\"model\":\"later\",\"stream\":true," MESSAGES "}";

    CHECK(thrd_create(&thread, ask_later, server) == thrd_success);
    generation = await_kept();
    CHECK_OK(nh_generation_text(generation, "one", 3));
    CHECK_OK(nh_generation_text(generation, "two", 3));
    CHECK_OK(nh_generation_finish(generation, NULL));
    CHECK(thrd_join(thread, NULL) == thrd_success);

    /* One whose client does not read: never waits, then learns that it has gone. */
    memset(piece, 'x', sizeof piece);
    fd = dial(server);
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
             chat, strlen(body));
    say(fd, head);
    say(fd, body);
    generation = await_kept();
    while ((status = nh_generation_text(generation, piece, sizeof piece)) == NH_OK)
        written++;
    CHECK_STATUS(status, NH_ERR_WOULD_BLOCK);
    CHECK(written > 0);
    close(fd);
    do {
        poll(NULL, 0, 1);
        status = nh_generation_text(generation, piece, sizeof piece);
    } while (status == NH_OK || status == NH_ERR_WOULD_BLOCK);
    CHECK_STATUS(status, NH_ERR_CANCELLED);
    CHECK(nh_generation_cancelled(generation) == 1);
    CHECK_STATUS(nh_generation_usage(generation, 1, 1), NH_ERR_CANCELLED);
    CHECK_OK(nh_generation_finish(generation, NULL));
}

static void misuse(nh_server *server)
{
    atomic_int drops = 0;
    const char *text = "as before";
    size_t len = 4711;

    CHECK_STATUS(nh_server_model(server, "mine", answer, &drops, count_up), NH_ERR_DUPLICATE);
    CHECK_STATUS(nh_server_model(server, "two words", answer, &drops, count_up),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_model(server, "", answer, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_model(server, "*", answer, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_model(server, NULL, answer, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_model(server, "x", NULL, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_model(NULL, "x", answer, &drops, count_up), NH_ERR_INVALID_ARGUMENT);
    CHECK(atomic_load(&drops) == 7);

    CHECK(nh_generate_json(NULL, &len) == NULL && len == 4711);
    CHECK(nh_generate_message_count(NULL) == 0);
    CHECK_STATUS(nh_generate_message(NULL, 0, &text, &text), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_generation_defer(NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_generation_text(NULL, "x", 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_generation_tool_call(NULL, "x", "f", "{}"), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_generation_usage(NULL, 1, 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_generation_finish(NULL, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_generation_fail(NULL, NH_ERR_IO, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_generation_cancelled(NULL) == NH_ERR_INVALID_ARGUMENT);
    CHECK_TEXT(text, "as before");
}

int main(void)
{
    nh_server *server = quiet_server();
    atomic_int drops = 0;
    nh_generation *over;

    CHECK_OK(nh_server_model(server, "mine", answer, &calls, NULL));
    CHECK_OK(nh_server_start(server));
    CHECK_OK(nh_server_model(server, "later", later, &drops, count_up)); /* while serving */
    in_every_api(server);
    /* A callback that has returned: its generation is over. */
    over = atomic_exchange(&kept, NULL);
    CHECK_STATUS(nh_generation_text(over, "late", 4), NH_ERR_STATE);
    CHECK_STATUS(nh_generation_finish(over, NULL), NH_ERR_STATE);
    ends_and_errors(server);
    a_client_that_goes(server);
    in_process(server);
    atomic_store(&kept, NULL);
    deferred(server);
    misuse(server);
    CHECK(atomic_load(&drops) == 0);
    nh_server_free(server);
    CHECK(atomic_load(&drops) == 1);
    return 0;
}
