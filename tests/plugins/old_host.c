/* Plugins of the old contract in a server of the new API. argv[1] is the folder with old.so. */
#include "../c/check.h"

static nh_status hello(nh_request *request, nh_response *response, void *user_data)
{
    (void)request;
    (void)user_data;
    return nh_response_send(response, 200, "text/plain", "hello", 5);
}

static int32_t first(nh_request *request, nh_response *response, void *user_data)
{
    (void)user_data;
    if (strcmp(nh_request_path(request, NULL), "/stop") != 0)
        return NH_NEXT;
    nh_response_send(response, 200, "text/plain", "before the plugins", NH_ZERO_TERMINATED);
    return NH_ANSWERED;
}

int main(int argc, char **argv)
{
    char path[1024];
    nh_server *server = quiet_server();
    char *answer, *stats;

    CHECK(argc == 2);
    snprintf(path, sizeof path, "%s/old.so", argv[1]);
    CHECK_OK(nh_server_route(server, "GET", "/hello", 0, hello, NULL, NULL));
    CHECK_OK(nh_server_before(server, first, NULL, NULL));
    CHECK_OK(nh_plugin_load(server, path, NULL));
    CHECK_STATUS(nh_plugin_load(server, path, NULL), NH_ERR_DUPLICATE);
    CHECK_OK(nh_server_start(server));

    answer = get(server, "/hello");
    CHECK(status_of(answer) == 200 && strstr(answer, "\r\nX-Old: yes\r\n") != NULL);
    CHECK_TEXT(body_of(answer), "hello");
    CHECK(strstr(get(server, "/nowhere"), "X-Old: yes") != NULL && status_of(get(server, "/nowhere")) == 404);
    CHECK(strstr(get(server, "/health"), "X-Old: yes") != NULL && status_of(get(server, "/health")) == 200);
    CHECK(strstr(get(server, "/stop"), "X-Old") == NULL);
    answer = get(server, "/old/answer");
    CHECK(status_of(answer) == 202 && strstr(answer, "\r\nX-Mine: 1\r\n") != NULL);
    CHECK_TEXT(body_of(answer), "old");
    CHECK(status_of(get(server, "/old/refuse")) == 403);
    answer = get(server, "/old/limit");
    CHECK(status_of(answer) == 429 && *body_of(answer) == '\0');
    answer = ask(server, "POST", "/old/body", "{\"a\":1}");
    CHECK(status_of(answer) == 200 && strstr(answer, "application/json") != NULL);
    CHECK_TEXT(body_of(answer), "{\"a\":1}");
    /* An answer of a model gets the plugin's headers too. */
    answer = ask(server, "POST", "/v1/chat", "{\"prompt\":\"hi\"}");
    CHECK(status_of(answer) == 200 && strstr(answer, "X-Old: yes") != NULL);
    answer = ask(server, "POST", "/v1/chat", "{\"prompt\":\"hi\",\"stream\":true}");
    CHECK(status_of(answer) == 200 && strstr(answer, "X-Old: yes") != NULL);

    CHECK_OK(nh_server_stats_json(server, &stats, NULL));
    CHECK(strstr(stats, "\"contract\":\"old\",\"enabled\":true,\"name\":\"old\"") != NULL);
    nh_free(stats);
    CHECK_OK(nh_plugin_set_enabled(server, "old", 0));
    CHECK(status_of(get(server, "/old/refuse")) == 404);
    CHECK_OK(nh_plugin_set_enabled(server, "old", 1));
    CHECK(status_of(get(server, "/old/refuse")) == 403);
    CHECK_OK(nh_plugin_unload(server, "old"));
    CHECK(status_of(get(server, "/old/refuse")) == 404);
    CHECK_OK(nh_plugin_load(server, path, ""));
    CHECK(status_of(get(server, "/old/refuse")) == 403);
    nh_server_free(server);
    return 0;
}
