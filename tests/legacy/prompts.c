/* ai/prompt_router.h against a model of our own on the loopback; prompts side by side. */
#define _GNU_SOURCE
#include "ai/prompt_router.h"
#include "model.h"

static void *slow_prompt(void *unused) {
    char response[64];
    (void)unused;
    CHECK(prompt_router_route("SLOW", "mine", response, sizeof response) == 0);
    return NULL;
}

int main(void) {
    pthread_t many[4];
    char url[128], response[256], tiny[5];
    char **models;
    int count;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/deep/v1/chat/completions", start_model());

    CHECK(prompt_router_init() == 0 && prompt_router_init() == 0);
    CHECK(prompt_router_get_models(&models, &count) == 0 && count == 3);
    CHECK_TEXT(models[0], "llama-3.3-70b-versatile");
    free_list(models, count);
    CHECK(prompt_router_add_model("mine", url, 100, 0.25f) == 0 && prompt_router_add_model("mine", url, 50, 0.25f) == 0);
    CHECK(prompt_router_set_default_model("mine") == 0);
    setenv("OPENAI_API_KEY", "secret-key", 1);
    CHECK(prompt_router_route("say \"hi\"\n", NULL, response, sizeof response) == 0);
    CHECK_TEXT(response, "an \"answer\"\n\xc3\xbc");
    CHECK_HAS(last_request, "POST /deep/v1/chat/completions HTTP/1.1");
    CHECK_HAS(last_request, "Bearer secret-key");
    CHECK_HAS(last_request, "say \\\"hi\\\"\\n");
    CHECK_HAS(last_request, "\"temperature\":0.25");
    CHECK_HAS(last_request, "\"max_tokens\":50");
    unsetenv("OPENAI_API_KEY");
    CHECK(prompt_router_route("p", "mine", tiny, sizeof tiny) == 0);
    CHECK_TEXT(tiny, "an \"");
    CHECK(strcasestr(last_request, "authorization") == NULL);
    CHECK(prompt_router_route("FAIL", "mine", response, sizeof response) == -1);
    CHECK(prompt_router_route("GARBAGE", "mine", response, sizeof response) == -1);
    CHECK(prompt_router_set_model_availability("mine", 0) == 0);
    CHECK(prompt_router_route("p", "mine", response, sizeof response) == -1);
    CHECK(prompt_router_set_model_availability("mine", 1) == 0);
    CHECK(prompt_router_add_model("other", "ftp://127.0.0.1/", 1, 0) == -1);
    CHECK(prompt_router_add_model("other", "127.0.0.1:1", 1, 0) == -1);
    CHECK(prompt_router_add_model("dead", "http://127.0.0.1:1/", 1, 0) == 0);
    CHECK(prompt_router_route("p", "dead", response, sizeof response) == -1 && response[0] != '\0');
    most_inside = 0;
    for (int i = 0; i < 4; i++) pthread_create(&many[i], NULL, slow_prompt, NULL);
    for (int i = 0; i < 4; i++) pthread_join(many[i], NULL);
    CHECK(most_inside > 1);
    CHECK(prompt_router_remove_model("mine") == 0 && prompt_router_route("p", "mine", response, sizeof response) == -1);
    prompt_router_cleanup();
    stop_model();
    return 0;
}
