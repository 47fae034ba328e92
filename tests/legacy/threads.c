/* Calls from many threads at once, init and cleanup among them: no crash, no race, no deadlock. */
#include "ai/stats.h"
#include "ai/tokenizer.h"
#include "cache.h"
#include "check.h"
#include "firewall.h"
#include "optimizer.h"
#include "router.h"
#include "utils.h"
#include <pthread.h>

static int done(Server *server, HTTPRequest *request, RouteResponse *response) {
    (void)server;
    (void)request;
    (void)response;
    return 0;
}

static void *work(void *argument) {
    int number = (int)(size_t)argument;
    string_pool_t *pool = create_string_pool(16);
    for (int i = 0; i < 300; i++) {
        char key[32], value[40];
        snprintf(key, sizeof key, "key-%d", (i * 7 + number) % 50);
        cache_set(key, "some value", 10, 5);
        cache_get(key, value, sizeof value);
        if (i % 40 == number) cache_delete(key);
        firewall_check_request_enhanced(key, NULL, "plain data", "agent");
        if (i % 60 == number) firewall_block_ip(key);
        char **list;
        int count;
        if (firewall_get_blocked_ips(&list, &count) == 0) free_list(list, count);
        register_route(key, HTTP_GET, done);
        snprintf(value, sizeof value, "/%s", key);
        register_route(value, HTTP_GET, done);
        optimizer_run(NULL);
        stats_add_model(key);
        stats_record_successful_request(key, 1.0, 1);
        Token **tokens;
        CHECK(tokenizer_tokenize("a b c 1.2 !", &tokens, &count) == 0);
        tokenizer_free_tokens(tokens, count);
        CHECK(pool_strdup(pool, key) != NULL);
        log_message_ex(LOG_LEVEL_DEBUG, "%s %d", key, i);
        if (i == 150 && number == 0) {
            cache_cleanup();
            cache_init(20, 5);
            firewall_cleanup();
            firewall_init(NULL);
            optimizer_cleanup();
            optimizer_init(NULL);
        }
    }
    destroy_string_pool(pool);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[8];
    char file[512];
    CHECK(argc == 2);
    snprintf(file, sizeof file, "%s/threads.json", argv[1]);
    CHECK(cache_init(20, 5) == 0 && firewall_init(NULL) == 0 && optimizer_init(NULL) == 0 && stats_init(file, 1) == 0);
    for (size_t i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (size_t i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    cache_cleanup();
    firewall_cleanup();
    optimizer_cleanup();
    stats_cleanup();
    router_cleanup();
    return 0;
}
