/* Calling models: clients of their own and of a server, whole answers and streams, cancelling,
 * the list of models, and NULL everywhere. */
#include "check.h"

static const char ask_echo[] =
    "{\"model\":\"echo\",\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}]}";

struct heard {
    char text[256];
    int pieces;
    int stop_after;
};

static int32_t hear_delta(const nh_delta *delta, void *user_data)
{
    struct heard *heard = user_data;
    size_t len, json_len;
    const char *text = nh_delta_text(delta, &len), *json = nh_delta_json(delta, &json_len);

    CHECK(text != NULL && strlen(text) == len && strlen(heard->text) + len < sizeof heard->text);
    CHECK(json != NULL && strlen(json) == json_len && strstr(json, "chat.completion.chunk"));
    strcat(heard->text, text);
    return ++heard->pieces == heard->stop_after;
}

static nh_client *quiet_client(void)
{
    nh_client_options options;
    nh_client *client = NULL;

    nh_client_options_init(&options, sizeof options);
    options.flags = NH_CLIENT_NO_ENV;
    options.log = no_log;
    CHECK_OK(nh_client_open(&options, &client));
    return client;
}

static void whole(nh_client *client)
{
    uint64_t prompt_tokens = 0, completion_tokens = 0;
    nh_reply *reply = NULL;
    size_t len;

    CHECK_OK(nh_prompt(client, NULL, "hello there", &reply));
    CHECK_TEXT(nh_reply_text(reply, &len), "hello there");
    CHECK(len == 11);
    CHECK(strstr(nh_reply_json(reply, NULL), "\"chat.completion\"") != NULL);
    CHECK(strstr(nh_reply_model(reply, NULL), "echo") != NULL);
    CHECK_TEXT(nh_reply_finish_reason(reply, NULL), "stop");
    CHECK_OK(nh_reply_usage(reply, &prompt_tokens, &completion_tokens));
    CHECK(prompt_tokens > 0 && completion_tokens > 0);
    nh_reply_free(reply);

    CHECK_OK(nh_chat(client, ask_echo, NH_ZERO_TERMINATED, &reply));
    CHECK_TEXT(nh_reply_text(reply, NULL), "one two three");
    nh_reply_free(reply);

    reply = NULL;
    CHECK_STATUS(nh_chat(client, "{", 1, &reply), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_prompt(client, "nobody", "x", &reply), NH_ERR_NOT_FOUND);
    CHECK(nh_last_error_http() == 404 && reply == NULL);
}

static void streamed(nh_client *client)
{
    struct heard heard = {.pieces = 0};
    nh_reply *reply = NULL;

    CHECK_OK(nh_chat_stream(client, ask_echo, NH_ZERO_TERMINATED, hear_delta, &heard, &reply));
    CHECK_TEXT(heard.text, "one two three");
    CHECK_TEXT(nh_reply_text(reply, NULL), "one two three");
    CHECK(heard.pieces > 2);
    nh_reply_free(reply);

    memset(&heard, 0, sizeof heard);
    heard.stop_after = 2;
    reply = NULL;
    CHECK_STATUS(nh_chat_stream(client, ask_echo, NH_ZERO_TERMINATED, hear_delta, &heard, &reply),
                 NH_ERR_CANCELLED);
    CHECK(heard.pieces == 2 && reply == NULL);
    nh_client_cancel(client); /* nothing is in progress */
    CHECK_OK(nh_chat_stream(client, ask_echo, NH_ZERO_TERMINATED, hear_delta, &heard, NULL));
}

static void models(nh_client *client)
{
    nh_reply *reply = NULL;
    char *json = NULL;
    size_t len;

    CHECK_OK(nh_models_json(client, &json, &len));
    CHECK(strlen(json) == len && strstr(json, "\"echo\"") != NULL);
    nh_free(json);
    CHECK_OK(nh_prompt(client, "echo", "x", &reply));
    nh_reply_free(reply);
    reply = NULL;
    CHECK_OK(nh_client_stats_json(client, &json, &len));
    CHECK(strlen(json) == len && strstr(json, "\"echo\":{") && strstr(json, "\"first_token_ms\""));
    nh_free(json);
    json = NULL;
    CHECK_OK(nh_model_set_default(client, "echo"));
    CHECK_OK(nh_model_set_available(client, "echo", 0));
    CHECK(nh_prompt(client, "echo", "x", &reply) != NH_OK);
    CHECK_OK(nh_model_set_available(client, "echo", 1));
    CHECK_OK(nh_model_remove(client, "echo"));
    CHECK_STATUS(nh_model_remove(client, "echo"), NH_ERR_NOT_FOUND);
}

static void null(nh_client *client)
{
    nh_reply *reply = NULL;
    char *json = NULL;

    CHECK_STATUS(nh_client_new(NULL, NULL, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_client_open(NULL, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_prompt(NULL, NULL, "x", &reply), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_prompt(client, NULL, NULL, &reply), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_chat(client, NULL, 1, &reply), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_chat(client, ask_echo, NH_ZERO_TERMINATED, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_chat_stream(client, ask_echo, NH_ZERO_TERMINATED, NULL, NULL, &reply),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_models_json(NULL, &json, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_client_stats_json(NULL, &json, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_client_stats_json(client, NULL, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_reply_usage(NULL, NULL, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK(nh_reply_text(NULL, NULL) == NULL && nh_delta_text(NULL, NULL) == NULL);
    CHECK(reply == NULL && json == NULL);
    nh_client_cancel(NULL);
    nh_client_free(NULL);
    nh_reply_free(NULL);
}

static void of_a_server(void)
{
    nh_server *server = quiet_server();
    nh_client *client = NULL;
    nh_reply *reply = NULL;

    CHECK_STATUS(nh_server_client(server, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_OK(nh_server_client(server, &client));
    CHECK_STATUS(nh_prompt(client, NULL, "x", &reply), NH_ERR_STATE);
    CHECK_OK(nh_server_start(server));
    whole(client);
    nh_server_free(server);
    CHECK_STATUS(nh_prompt(client, NULL, "x", &reply), NH_ERR_CLOSED);
    nh_client_free(client);
}

int main(void)
{
    nh_client *client = quiet_client();

    whole(client);
    streamed(client);
    null(client);
    models(client);
    nh_client_free(client);
    CHECK_OK(nh_client_new(NULL, "[log]\nlevel = \"error\"\n", &client));
    nh_client_free(client);
    of_a_server();
    return 0;
}
