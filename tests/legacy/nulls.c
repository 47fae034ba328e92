/* Every function with NULL, and before init: an error value each, never a crash. */
#include "ai/prompt_router.h"
#include "ai/stats.h"
#include "ai/tokenizer.h"
#include "asm_utils.h"
#include "cache.h"
#include "check.h"
#include "config.h"
#include "firewall.h"
#include "optimizer.h"
#include "parser.h"
#include "plugin.h"
#include "router.h"
#include "server.h"
#include "stream.h"
#include "utils.h"

#define FAILS(call) CHECK((call) == -1)
#define NONE(call) CHECK((call) == NULL)

static void engine(void) {
    Config config;
    Server server;
    HTTPRequest request;
    RouteResponse response;
    memset(&config, 0, sizeof config);
    memset(&server, 0xa5, sizeof server);
    memset(&request, 0, sizeof request);
    memset(&response, 0, sizeof response);
    FAILS(load_config(NULL, &config));
    FAILS(load_config("x", NULL));
    FAILS(server_init(NULL, &config));
    FAILS(server_start(&server));
    FAILS(server_stop(&server));
    FAILS(server_process_events(&server));
    FAILS(server_handle_request(&server, 0));
    FAILS(server_send_response(&server, 1, "x", 1));
    server_cleanup(&server);
    FAILS(server_start(NULL));
    FAILS(server_stop(NULL));
    FAILS(server_process_events(NULL));
    FAILS(server_handle_request(NULL, 0));
    FAILS(server_send_response(NULL, 0, "x", 1));
    server_cleanup(NULL);
    FAILS(server_init(&server, NULL));
    CHECK(server.server_fd == -1);
    config.port = 70000;
    FAILS(server_init(&server, &config));
    CHECK(server.server_fd == -1);
    FAILS(route_request(NULL, NULL, &response));
    FAILS(route_request(NULL, &request, NULL));
    FAILS(register_route(NULL, HTTP_GET, handle_root_request));
    FAILS(register_route("/x", HTTP_GET, NULL));
    FAILS(register_route("no slash", HTTP_GET, handle_root_request));
    FAILS(register_route("/x", (HTTPMethod)99, handle_root_request));
    FAILS(register_middleware(NULL));
    FAILS(create_error_response(NULL, ROUTE_ERROR_NONE, 500));
    FAILS(handle_chat_request(NULL, NULL, &response));
    FAILS(handle_chat_request(NULL, &request, NULL));
    FAILS(handle_stats_request(NULL, NULL, &response));
    FAILS(handle_health_request(NULL, NULL, NULL));
    FAILS(handle_root_request(NULL, NULL, NULL));
    free_route_response(NULL);
    free_http_request(NULL);
    CHECK(handle_health_request(NULL, NULL, &response) == 0 && response.status_code == 200);
    free_route_response(&response);
    CHECK(create_error_response(&response, (RouteError)77, 7777) == 0 && response.status_code == 500);
    CHECK(strstr(response.data, "\"code\": 4,") != NULL);
    free_route_response(&response);
    CHECK(response.data == NULL);
    FAILS(parse_http_request(NULL, &request));
    FAILS(parse_http_request("GET / HTTP/1.1", NULL));
    FAILS(parse_json(NULL, &config, 1));
    FAILS(parse_json("{}", NULL, 1));
    FAILS(json_get_value("{}", NULL, (char *)&config, 1));
    FAILS(parse_json_with_fast_tokenizer(NULL, 5, NULL));
    FAILS(plugin_load("x.so"));
    FAILS(plugin_unload("x"));
    FAILS(plugin_set_enabled("x", 1));
    FAILS(plugin_process_request(&request, &response));
    FAILS(plugin_get_list(NULL, NULL));
    plugin_cleanup();
    CHECK(plugin_init("/nowhere/at/all") == 0);
    FAILS(plugin_load(NULL));
    FAILS(plugin_load("/nowhere/at/all.so"));
    FAILS(plugin_unload(NULL));
    FAILS(plugin_set_enabled(NULL, 1));
    FAILS(plugin_get_list(NULL, NULL));
    FAILS(plugin_process_request(NULL, NULL));
    CHECK(plugin_process_request(&request, &response) == 0);
    plugin_cleanup();
    plugin_cleanup();
}

static void subsystems(void) {
    char buffer[8];
    int number;
    char **list;
    FAILS(cache_set(NULL, "v", 1, 0));
    FAILS(cache_init(5, 5) ? 0 : cache_set("k", NULL, 1, 0));
    FAILS(cache_set("k", "v", 0, 0));
    FAILS(cache_get(NULL, buffer, 1));
    FAILS(cache_get("k", NULL, 1));
    FAILS(cache_delete(NULL));
    FAILS(cache_get_stats(NULL, NULL, NULL));
    cache_cleanup();
    CHECK(firewall_init(NULL) == 0);
    FAILS(firewall_check_request_enhanced(NULL, NULL, NULL, NULL));
    FAILS(firewall_block_ip(NULL));
    FAILS(firewall_unblock_ip(NULL));
    FAILS(firewall_get_blocked_ips(NULL, &number));
    FAILS(firewall_get_suspicious_ips(&list, NULL, 0));
    FAILS(firewall_get_whitelisted_ips(NULL, NULL));
    FAILS(firewall_get_blacklisted_ips(NULL, NULL));
    FAILS(firewall_add_to_whitelist(NULL, 1, 0));
    FAILS(firewall_remove_from_whitelist(NULL));
    FAILS(firewall_add_to_blacklist(NULL, BLOCK_REASON_SUSPICIOUS, NULL));
    FAILS(firewall_remove_from_blacklist(NULL));
    CHECK(firewall_is_whitelisted(NULL) == 0 && firewall_is_blacklisted(NULL) == 0);
    FAILS(firewall_add_attack_pattern(NULL, 5));
    FAILS(firewall_remove_attack_pattern(NULL));
    FAILS(firewall_get_attack_patterns(NULL, NULL));
    FAILS(firewall_get_stats(NULL));
    FAILS(firewall_configure_rate_limits(NULL));
    FAILS(firewall_get_rate_limit_config(NULL));
    FAILS(firewall_get_block_reason(NULL, NULL));
    FAILS(firewall_save_config(NULL));
    FAILS(firewall_load_config(NULL));
    FAILS(firewall_export_stats(NULL, 0));
    FAILS(firewall_import_attack_patterns(NULL));
    firewall_cleanup();
    FAILS(optimizer_set_thresholds(1, 1, 1));
    CHECK(optimizer_init(NULL) == 0);
    FAILS(optimizer_get_current_data(NULL));
    FAILS(optimizer_get_average_data(NULL));
    FAILS(optimizer_generate_report(NULL, NULL));
    optimizer_cleanup();
    FAILS(prompt_router_add_model("m", "http://x", 1, 0.5f));
    FAILS(prompt_router_route("p", NULL, buffer, sizeof buffer));
    FAILS(prompt_router_get_models(&list, &number));
    CHECK(prompt_router_init() == 0);
    FAILS(prompt_router_add_model(NULL, "http://x", 1, 0.5f));
    FAILS(prompt_router_add_model("m", NULL, 1, 0.5f));
    FAILS(prompt_router_remove_model(NULL));
    FAILS(prompt_router_set_default_model("unknown"));
    FAILS(prompt_router_set_model_availability(NULL, 1));
    FAILS(prompt_router_route(NULL, NULL, buffer, sizeof buffer));
    FAILS(prompt_router_route("p", NULL, NULL, 5));
    FAILS(prompt_router_route("p", NULL, buffer, 0));
    FAILS(prompt_router_route("p", "unknown", buffer, sizeof buffer));
    FAILS(prompt_router_get_models(NULL, NULL));
    prompt_router_cleanup();
    prompt_router_cleanup();
    FAILS(stats_add_model(NULL));
    FAILS(stats_get_model_stats(NULL, NULL));
    FAILS(stats_get_all_stats(NULL, NULL));
    FAILS(stats_record_successful_request(NULL, 1, 1));
    FAILS(stats_record_failed_request(NULL));
    FAILS(tokenizer_tokenize(NULL, NULL, NULL));
    FAILS(tokenizer_detokenize(NULL, 1, buffer, sizeof buffer));
    tokenizer_free_tokens(NULL, 5);
    tokenizer_free_token(NULL);
}

static void streams(void) {
    CHECK(stream_init(NULL, 1) == 1 && stream_init_ex(NULL, 1, NULL) == 1);
    CHECK(stream_send_chunk(NULL, "x", 1) == 1 && stream_send_chunk_ex(NULL, "x", 1, 1) == 1);
    CHECK(stream_send_with_callback(NULL, "x", 1, NULL, NULL) == STREAM_ERROR_NULL);
    FAILS(stream_end(NULL));
    FAILS(stream_response(-1, NULL));
    stream_cleanup(NULL);
    stream_get_stats(NULL, NULL);
    stream_set_callbacks(NULL, NULL, NULL, NULL);
    stream_print_stats(NULL);
    CHECK(stream_buffer_init(NULL, 1) == 1 && stream_buffer_init_ex(NULL, 1, true, 1) == 1);
    CHECK(stream_buffer_write(NULL, "x", 1) == 1 && stream_buffer_write_ex(NULL, "x", 1, true) == 1);
    CHECK(stream_buffer_read(NULL, NULL, 1) == 1 && stream_buffer_read_ex(NULL, NULL, 1, true) == 1);
    stream_buffer_reset(NULL);
    stream_buffer_cleanup(NULL);
    stream_buffer_get_stats(NULL, NULL);
}

static void utilities(void) {
    int number;
    size_t size = 5;
    char small[4];
    NONE(read_file(NULL));
    NONE(read_file_ex(NULL, &size, &number));
    CHECK(size == 0 && number != 0);
    FAILS(mkdir_if_not_exists(NULL));
    FAILS(create_directory(NULL));
    CHECK(is_file_exists(NULL) == 0);
    generate_random_string(NULL, 5);
    generate_random_string_safe(NULL, 5);
    FAILS(string_to_int(NULL, &number));
    FAILS(string_to_int("1", NULL));
    FAILS(string_to_int_ex("1", &number, 99));
    log_message(NULL, NULL);
    log_message("INFO", NULL);
    log_message_ex(LOG_LEVEL_ERROR, NULL);
    NONE(str_replace(NULL, "a", "b"));
    NONE(str_replace("a", NULL, "b"));
    NONE(str_replace_ex(NULL, NULL, NULL, NULL));
    NONE(pool_strdup(NULL, "x"));
    destroy_string_pool(NULL);
    NONE(str_split(NULL, ",", &number));
    NONE(str_split("a", NULL, &number));
    NONE(str_split("a", ",", NULL));
    NONE(str_trim(NULL));
    CHECK(str_starts_with(NULL, "a") == 0 && str_ends_with("a", NULL) == 0);
    NONE(url_encode(NULL));
    NONE(url_decode(NULL));
    print_hex(NULL, 5);
    FAILS(resolve_hostname(NULL, small, sizeof small));
    FAILS(resolve_hostname("127.0.0.1", NULL, 5));
    NONE(md5_string(NULL));
    NONE(sha256_string(NULL));
    FAILS(base64_encode(NULL, 5, small));
    FAILS(base64_encode((const unsigned char *)"x", 1, NULL));
    FAILS(base64_decode(NULL, (unsigned char *)small, &number));
    FAILS(base64_decode("", NULL, &number));
    array_free(NULL);
    FAILS(array_append(NULL, NULL));
    NONE(array_get(NULL, 0));
    CHECK(array_size(NULL) == 0);
    dictionary_free(NULL);
    FAILS(dictionary_set(NULL, "a", "b"));
    NONE(dictionary_get(NULL, "a"));
    CHECK(dictionary_size(NULL) == 0);
    Dictionary *dict = dictionary_create(0);
    FAILS(dictionary_set(dict, NULL, "b"));
    FAILS(dictionary_set(dict, "a", NULL));
    NONE(dictionary_get(dict, NULL));
    dictionary_free(dict);
    CHECK(crc32_asm(NULL, 5) == 0 && crc32_asm_avx2(NULL, 5) == 0);
    json_fast_tokenizer(NULL, 5);
    json_fast_tokenizer_avx2(NULL, 5);
    NONE(memcpy_asm(NULL, "x", 1));
    CHECK(memcpy_asm_avx2(small, NULL, 1) == small);
    NONE(memcpy_asm_avx512(NULL, NULL, 0));
}

int main(void) {
    engine();
    subsystems();
    streams();
    utilities();
    return 0;
}
