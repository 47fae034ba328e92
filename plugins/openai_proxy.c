/* openai_proxy: lets OpenAI's clients talk to an old host. A server of plugin.h knows POST /v1/chat only; with
 * this plugin it answers POST /v1/chat/completions and GET /v1/models too, from the models of
 * ai/prompt_router.h.
 *
 * One user message goes to the model as it is; of a longer conversation every message becomes a paragraph
 * with its role in front, because the prompt router takes one prompt. `stream` is honoured in form: the
 * whole answer comes in one piece. Tools, images and other parts that are no text are refused with 400.
 *
 * A server of neurohttp.h has these routes itself and needs no such plugin.
 */
#define _POSIX_C_SOURCE 200809L
#include <ai/prompt_router.h>
#include <ctype.h>
#include <parser.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* The host has them: in the shared library, or in itself when it was linked with -rdynamic. */
#pragma weak prompt_router_init
#pragma weak prompt_router_route
#pragma weak prompt_router_get_models

enum {
    ANSWER_BYTES = 1 << 20, /* an answer is cut to this */
    DEPTH_MAX = 64,         /* JSON inside JSON */
};

/* ---- growing text ---- */

struct text {
    char *at;
    size_t len, room;
    bool failed;
};

static void add(struct text *text, const char *bytes, size_t len)
{
    if (text->len + len + 1 > text->room) {
        size_t room = 2 * (text->len + len) + 256;
        char *grown = realloc(text->at, room);

        if (grown == NULL) {
            text->failed = true;
            return;
        }
        text->at = grown;
        text->room = room;
    }
    memcpy(text->at + text->len, bytes, len);
    text->len += len;
    text->at[text->len] = '\0';
}

static void add_words(struct text *text, const char *words)
{
    add(text, words, strlen(words));
}

static void add_json(struct text *text, const char *value, size_t len)
{
    size_t i;

    add_words(text, "\"");
    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];
        char escaped[8];

        if (c < 0x20 || c == '"' || c == '\\')
            add(text, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", c));
        else
            add(text, value + i, 1);
    }
    add_words(text, "\"");
}

/* ---- reading JSON ---- */

struct json {
    const char *at, *end;
};

static void skip_blanks(struct json *json)
{
    while (json->at < json->end && strchr(" \t\r\n", *json->at) != NULL && *json->at != '\0')
        json->at++;
}

static bool accept(struct json *json, char c)
{
    skip_blanks(json);
    if (json->at == json->end || *json->at != c)
        return false;
    json->at++;
    return true;
}

static bool hex(struct json *json, unsigned *code)
{
    int i;

    *code = 0;
    for (i = 0; i < 4; i++, json->at++) {
        if (json->at == json->end || !isxdigit((unsigned char)*json->at))
            return false;
        *code = *code * 16 + (unsigned)(isdigit((unsigned char)*json->at)
                                            ? *json->at - '0'
                                            : tolower((unsigned char)*json->at) - 'a' + 10);
    }
    return true;
}

static void add_code(struct text *to, unsigned code)
{
    char bytes[4];

    if (code < 0x80) {
        bytes[0] = (char)code;
        add(to, bytes, 1);
        return;
    }
    if (code < 0x800) {
        bytes[0] = (char)(0xc0 | code >> 6);
        bytes[1] = (char)(0x80 | (code & 0x3f));
        add(to, bytes, 2);
        return;
    }
    if (code < 0x10000) {
        bytes[0] = (char)(0xe0 | code >> 12);
        bytes[1] = (char)(0x80 | (code >> 6 & 0x3f));
        bytes[2] = (char)(0x80 | (code & 0x3f));
        add(to, bytes, 3);
        return;
    }
    bytes[0] = (char)(0xf0 | code >> 18);
    bytes[1] = (char)(0x80 | (code >> 12 & 0x3f));
    bytes[2] = (char)(0x80 | (code >> 6 & 0x3f));
    bytes[3] = (char)(0x80 | (code & 0x3f));
    add(to, bytes, 4);
}

static bool escape(struct json *json, struct text *to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    const char *known;
    unsigned code, low;

    if (json->at == json->end)
        return false;
    if (*json->at != 'u') {
        known = *json->at != '\0' ? strchr(from, *json->at) : NULL;
        if (known == NULL)
            return false;
        add(to, into + (known - from), 1);
        json->at++;
        return true;
    }
    json->at++;
    if (!hex(json, &code))
        return false;
    if (code >= 0xd800 && code < 0xdc00) {
        if (json->end - json->at < 6 || json->at[0] != '\\' || json->at[1] != 'u')
            return false;
        json->at += 2;
        if (!hex(json, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
        return false;
    }
    if (code == 0) /* the prompt router's texts end at a NUL */
        code = 0xfffd;
    add_code(to, code);
    return true;
}

/* A string, decoded and appended to `to`. */
static bool string(struct json *json, struct text *to)
{
    if (!accept(json, '"'))
        return false;
    while (json->at < json->end && *json->at != '"') {
        if ((unsigned char)*json->at < 0x20)
            return false;
        if (*json->at == '\\') {
            json->at++;
            if (!escape(json, to))
                return false;
        } else {
            add(to, json->at++, 1);
        }
    }
    return accept(json, '"');
}

/* Any value, not looked at. */
static bool skip(struct json *json, int depth)
{
    struct text ignored = {0};
    char close;
    bool fine;

    skip_blanks(json);
    if (json->at == json->end || depth > DEPTH_MAX)
        return false;
    if (*json->at == '"') {
        fine = string(json, &ignored);
        free(ignored.at);
        return fine;
    }
    if (*json->at != '{' && *json->at != '[') {
        const char *begin = json->at;

        while (json->at < json->end && *json->at != '\0' &&
               (isalnum((unsigned char)*json->at) || strchr("+-.", *json->at) != NULL))
            json->at++;
        return json->at > begin;
    }
    close = *json->at++ == '{' ? '}' : ']';
    if (accept(json, close))
        return true;
    do {
        if (close == '}' && (!skip(json, depth + 1) || !accept(json, ':')))
            return false;
        if (!skip(json, depth + 1))
            return false;
    } while (accept(json, ','));
    return accept(json, close);
}

/* Calls `member` for each member of an object, at its value. */
static bool members(struct json *json, bool (*member)(struct json *, const char *, void *), void *data)
{
    if (!accept(json, '{'))
        return false;
    if (accept(json, '}'))
        return true;
    do {
        struct text name = {0};
        bool fine = string(json, &name) && accept(json, ':') && !name.failed &&
                    member(json, name.at != NULL ? name.at : "", data);

        free(name.at);
        if (!fine)
            return false;
    } while (accept(json, ','));
    return accept(json, '}');
}

/* ---- the request ---- */

struct message {
    struct text role, content;
};

struct chat {
    struct text model, prompt;
    struct text only; /* the content when there is one user message and no other */
    int messages;
    bool is_user, has_messages, stream;
    const char *refused; /* what is asked for and cannot be given */
};

static bool part_member(struct json *json, const char *name, void *data)
{
    struct message *message = data;

    if (strcmp(name, "text") == 0)
        return string(json, &message->content);
    return skip(json, 0);
}

static bool message_member(struct json *json, const char *name, void *data)
{
    struct message *message = data;

    if (strcmp(name, "role") == 0)
        return string(json, &message->role);
    if (strcmp(name, "content") != 0)
        return skip(json, 0);
    if (!accept(json, '['))
        return json->at < json->end && *json->at == '"' ? string(json, &message->content) : skip(json, 0);
    if (accept(json, ']'))
        return true;
    do {
        size_t before = message->content.len;

        if (!members(json, part_member, message))
            return false;
        if (message->content.len == before)
            message->content.failed = true; /* a part that is no text */
    } while (accept(json, ','));
    return accept(json, ']');
}

static bool read_messages(struct json *json, struct chat *chat)
{
    chat->has_messages = true;
    if (!accept(json, '['))
        return false;
    if (accept(json, ']'))
        return true;
    do {
        struct message message = {0};
        bool fine = members(json, message_member, &message);
        const char *role = message.role.at != NULL ? message.role.at : "";

        if (message.content.failed)
            chat->refused = "a message holds a part that is no text, which the prompt router cannot take";
        chat->messages++;
        chat->is_user = strcmp(role, "user") == 0;
        chat->only.len = 0;
        if (message.content.at != NULL) {
            add(&chat->only, message.content.at, message.content.len);
            add_words(&chat->prompt, chat->prompt.len > 0 ? "\n\n" : "");
            add_words(&chat->prompt, role);
            add_words(&chat->prompt, ": ");
            add(&chat->prompt, message.content.at, message.content.len);
        }
        free(message.role.at);
        free(message.content.at);
        if (!fine)
            return false;
    } while (accept(json, ','));
    return accept(json, ']');
}

static bool chat_member(struct json *json, const char *name, void *data)
{
    struct chat *chat = data;

    if (strcmp(name, "model") == 0)
        return string(json, &chat->model);
    if (strcmp(name, "messages") == 0)
        return read_messages(json, chat);
    skip_blanks(json);
    if (strcmp(name, "stream") == 0)
        chat->stream = json->end - json->at >= 4 && memcmp(json->at, "true", 4) == 0;
    else if (strcmp(name, "tools") == 0 && json->at < json->end && *json->at == '[')
        chat->refused = "tools are not possible through the prompt router";
    return skip(json, 0);
}

/* ---- the answer ---- */

/* A whole message; what the host sends. */
static int answer(RouteResponse *response, int status, const char *words, const char *type, struct text *body)
{
    struct text whole = {0};
    char head[256];

    snprintf(head, sizeof head,
             "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nCache-Control: no-cache\r\nContent-Length: %zu\r\n\r\n", status,
             words, type, body->len);
    add_words(&whole, head);
    if (body->at != NULL)
        add(&whole, body->at, body->len);
    if (whole.failed || body->failed) {
        free(whole.at);
        whole = (struct text){0};
        status = 500;
    }
    free(body->at);
    response->status_code = status;
    response->data = whole.at;
    response->length = whole.len;
    return status < 400 ? 0 : 1;
}

static int refuse(RouteResponse *response, int status, const char *words, const char *type, const char *code,
                  const char *message)
{
    struct text body = {0};

    add_words(&body, "{\"error\":{\"message\":");
    add_json(&body, message, strlen(message));
    add_words(&body, ",\"type\":\"");
    add_words(&body, type);
    add_words(&body, "\",\"param\":null,\"code\":\"");
    add_words(&body, code);
    add_words(&body, "\"}}");
    return answer(response, status, words, "application/json", &body);
}

/* The common beginning of an answer and of each event of one. */
static void begin(struct text *body, const char *object, long long now, unsigned serial, const struct chat *chat)
{
    char text[160];

    snprintf(text, sizeof text, "{\"id\":\"chatcmpl-%llx%04x\",\"object\":\"%s\",\"created\":%lld,\"model\":", now,
             serial & 0xffff, object, now);
    add_words(body, text);
    add_json(body, chat->model.at, chat->model.len);
}

static int completion(RouteResponse *response, const struct chat *chat, const char *content)
{
    static unsigned serial; /* a number that need not be exact: ids differ by the second too */
    struct text body = {0};
    long long now = (long long)time(NULL);
    unsigned mine = ++serial;

    if (!chat->stream) {
        begin(&body, "chat.completion", now, mine, chat);
        add_words(&body, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
        add_json(&body, content, strlen(content));
        add_words(&body, "},\"finish_reason\":\"stop\"}]}");
        return answer(response, 200, "OK", "application/json", &body);
    }
    add_words(&body, "data: ");
    begin(&body, "chat.completion.chunk", now, mine, chat);
    add_words(&body, ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":");
    add_json(&body, content, strlen(content));
    add_words(&body, "},\"finish_reason\":null}]}\n\ndata: ");
    begin(&body, "chat.completion.chunk", now, mine, chat);
    add_words(&body, ",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
    return answer(response, 200, "OK", "text/event-stream", &body);
}

/* The name of the model in `names`, or the first when none was asked for. False when it is unknown. */
static bool choose_model(struct chat *chat)
{
    char **names = NULL;
    int count = 0, i;
    bool found = false;

    if (prompt_router_get_models(&names, &count) != 0)
        return false;
    for (i = 0; i < count; i++) {
        if (chat->model.len == 0)
            add_words(&chat->model, names[i]);
        if (chat->model.at != NULL && strcmp(chat->model.at, names[i]) == 0)
            found = true;
    }
    for (i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return found;
}

static int chat_completions(const HTTPRequest *request, RouteResponse *response)
{
    struct chat chat = {0};
    struct json json = {request->body, request->body};
    const char *prompt;
    char *content = NULL;
    int status;
    bool fine;

    if (request->body == NULL)
        return refuse(response, 400, "Bad Request", "invalid_request_error", "invalid_json",
                      "the request has no body");
    json.end += request->body_length;
    fine = members(&json, chat_member, &chat);
    skip_blanks(&json);
    if (!fine || json.at != json.end)
        status = refuse(response, 400, "Bad Request", "invalid_request_error", "invalid_json",
                        "the body is not a chat request in JSON");
    else if (chat.refused != NULL)
        status = refuse(response, 400, "Bad Request", "invalid_request_error", "unsupported", chat.refused);
    else if (!chat.has_messages || chat.messages == 0)
        status = refuse(response, 400, "Bad Request", "invalid_request_error", "missing_messages",
                        "messages must hold at least one message");
    else if (!choose_model(&chat))
        status = refuse(response, 404, "Not Found", "invalid_request_error", "model_not_found",
                        "no such model is known to the prompt router");
    else if ((content = malloc(ANSWER_BYTES)) == NULL || chat.prompt.failed || chat.only.failed)
        status = refuse(response, 500, "Internal Server Error", "server_error", "out_of_memory", "out of memory");
    else {
        prompt = chat.messages == 1 && chat.is_user ? chat.only.at : chat.prompt.at;
        *content = '\0';
        if (prompt_router_route(prompt != NULL ? prompt : "", chat.model.at, content, ANSWER_BYTES) == 0)
            status = completion(response, &chat, content);
        else
            status = refuse(response, 502, "Bad Gateway", "upstream_error", "upstream_error",
                            "the model could not be asked");
    }
    free(content);
    free(chat.model.at);
    free(chat.prompt.at);
    free(chat.only.at);
    return status;
}

static int models(RouteResponse *response)
{
    struct text body = {0};
    char **names = NULL;
    int count = 0, i;

    if (prompt_router_get_models(&names, &count) != 0)
        count = 0;
    add_words(&body, "{\"object\":\"list\",\"data\":[");
    for (i = 0; i < count; i++) {
        add_words(&body, i > 0 ? ",{\"id\":" : "{\"id\":");
        add_json(&body, names[i], strlen(names[i]));
        add_words(&body, ",\"object\":\"model\",\"created\":0,\"owned_by\":\"prompt_router\"}");
        free(names[i]);
    }
    free(names);
    add_words(&body, "]}");
    return answer(response, 200, "OK", "application/json", &body);
}

/* ---- the contract ---- */

int plugin_init(void);
int plugin_init(void)
{
    if (prompt_router_init == NULL || prompt_router_route == NULL || prompt_router_get_models == NULL) {
        fprintf(stderr, "openai_proxy: the host does not show its prompt router; link it with -rdynamic\n");
        return -1;
    }
    return prompt_router_init();
}

int plugin_process(void *request_pointer, void *response_pointer);
int plugin_process(void *request_pointer, void *response_pointer)
{
    const HTTPRequest *request = request_pointer;
    RouteResponse *response = response_pointer;

    if (request->path == NULL)
        return 0;
    if (request->method == HTTP_POST && strcmp(request->path, "/v1/chat/completions") == 0)
        return chat_completions(request, response);
    if (request->method == HTTP_GET && strcmp(request->path, "/v1/models") == 0)
        return models(response);
    return 0;
}

void plugin_cleanup(void);
void plugin_cleanup(void)
{
}
