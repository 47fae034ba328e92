/* cache.h, firewall.h, optimizer.h, config.h, parser.h, ai/stats.h, ai/tokenizer.h, asm_utils.h. */
#include "ai/stats.h"
#include "ai/tokenizer.h"
#include "asm_utils.h"
#include "cache.h"
#include "check.h"
#include "config.h"
#include "firewall.h"
#include "optimizer.h"
#include "parser.h"
#include <unistd.h>

static char folder[400];

static const char *in_folder(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const char *content) {
    const char *path = in_folder(name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    fputs(content, file);
    fclose(file);
    return path;
}

static void cache(void) {
    int entries, hits, misses;
    char value[16];
    CHECK(cache_set("k", "v", 1, 0) == -1 && cache_get("k", value, 1) == -1 && cache_clear() == -1);
    CHECK(cache_init(0, 10) == -1 && cache_init(-1, 10) == -1);
    CHECK(cache_init(2, 100) == 0 && cache_init(2, 100) == 0);
    CHECK(cache_set("a", "one\0!", 5, 0) == 0 && cache_set("a", "two", 3, 0) == 0);
    memset(value, '#', sizeof value);
    CHECK(cache_get("a", value, sizeof value) == 0 && memcmp(value, "two#", 4) == 0);
    CHECK(cache_get("a", value, 1) == 0 && cache_get("nothing", value, 1) == -1);
    CHECK(cache_set("b", "2", 1, 0) == 0 && cache_get("a", value, 1) == 0);
    CHECK(cache_set("c", "3", 1, 0) == 0);
    CHECK(cache_get("b", value, 1) == -1 && cache_get("a", value, 1) == 0);
    CHECK(cache_get_stats(&entries, &hits, &misses) == 0 && entries == 2 && hits == 4 && misses == 2);
    CHECK(cache_delete("a") == 0 && cache_delete("a") == -1);
    CHECK(cache_set("short", "x", 1, 1) == 0 && cache_get("short", value, 1) == 0);
    CHECK(cache_increase_size(100) == 0 && cache_reduce_size(50) == 0 && cache_reduce_size(101) == -1);
    // Nothing is less than one entry.
    CHECK(cache_reduce_size(100) == 0 && cache_set("d", "4", 1, 0) == 0 && cache_set("e", "5", 1, 0) == 0);
    CHECK(cache_get_stats(&entries, &hits, &misses) == 0 && entries == 1);
    CHECK(cache_clear() == 0 && cache_get_stats(&entries, &hits, &misses) == 0 && entries == 0 && hits == 5);
    cache_cleanup();
    cache_cleanup();
    CHECK(cache_get("c", value, 1) == -1);
}

static void firewall(void) {
    FirewallStats stats;
    BlockReason reason;
    char **list;
    int count;
    CHECK(firewall_check_request("1.2.3.4", NULL) == -1 && firewall_get_stats(&stats) == -1);
    CHECK(firewall_init(NULL) == 0 && firewall_init(NULL) == 0);
    CHECK(firewall_check_request("1.2.3.4", NULL) == 0 && firewall_check_request(NULL, NULL) == -1);
    CHECK(firewall_check_request_enhanced("5.5.5.5", NULL, NULL, "sqlmap/1.0") == -1);
    CHECK(firewall_get_block_reason("5.5.5.5", &reason) == 0 && reason == BLOCK_REASON_ATTACK_PATTERN);
    CHECK(firewall_get_block_reason("1.2.3.4", &reason) == -1);
    CHECK(firewall_get_blocked_ips(&list, &count) == 0 && count == 1);
    CHECK_TEXT(list[0], "5.5.5.5");
    free_list(list, count);
    CHECK(firewall_get_suspicious_ips(&list, &count, 49) == 0 && count == 1);
    free_list(list, count);
    CHECK(firewall_get_suspicious_ips(&list, &count, -1) == -1);
    CHECK(firewall_unblock_ip("5.5.5.5") == 0 && firewall_check_request("5.5.5.5", NULL) == 0);
    RateLimitConfig limits;
    CHECK(firewall_get_rate_limit_config(&limits) == 0);
    CHECK(limits.max_requests_per_minute == DEFAULT_RATE_LIMIT_PER_MINUTE && limits.brute_force_window_seconds == 300);
    limits.max_requests_per_minute = 3;
    CHECK(firewall_configure_rate_limits(&limits) == 0);
    for (int i = 0; i < 3; i++) CHECK(firewall_check_request("7.7.7.7", NULL) == 0);
    CHECK(firewall_check_request("7.7.7.7", NULL) == -1);
    CHECK(firewall_get_block_reason("7.7.7.7", &reason) == 0 && reason == BLOCK_REASON_RATE_LIMIT);
    CHECK(firewall_add_to_whitelist("7.7.7.7", 1, 0) == 0 && firewall_check_request("7.7.7.7", NULL) == 0);
    CHECK(firewall_is_whitelisted("7.7.7.7") == 1 && firewall_remove_from_whitelist("7.7.7.7") == 0);
    CHECK(firewall_remove_from_whitelist("7.7.7.7") == -1);
    CHECK(firewall_add_to_blacklist("8.8.8.8", BLOCK_REASON_SUSPICIOUS, NULL) == 0);
    CHECK(firewall_add_to_blacklist("8.8.8.8", BLOCK_REASON_SUSPICIOUS, "again") == 0);
    CHECK(firewall_is_blacklisted("8.8.8.8") == 1 && firewall_check_request("8.8.8.8", NULL) == -1);
    AttackPattern *patterns;
    CHECK(firewall_get_attack_patterns(&patterns, &count) == 0 && count == 25);
    CHECK_TEXT(patterns[0].pattern, " UNION ");
    free(patterns);
    CHECK(firewall_add_attack_pattern("needle", 10) == 0 && firewall_add_attack_pattern("", 5) == -1);
    CHECK(firewall_add_attack_pattern("x", 11) == -1 && firewall_remove_attack_pattern("nothing") == -1);
    CHECK(firewall_check_request_enhanced("9.9.9.9", NULL, "a NEEDLE here", NULL) == -1);
    char saved[512];
    snprintf(saved, sizeof saved, "%s", in_folder("firewall.conf"));
    CHECK(firewall_save_config(saved) == 0);
    CHECK(firewall_clear_all() == 0 && firewall_get_stats(&stats) == 0 && stats.total_requests == 0);
    CHECK(firewall_is_blacklisted("8.8.8.8") == 0);
    CHECK(firewall_load_config(saved) == 0 && firewall_is_blacklisted("8.8.8.8") == 1);
    CHECK(firewall_get_attack_patterns(&patterns, &count) == 0 && count == 26);
    free(patterns);
    CHECK(firewall_load_config("/nowhere/at/all") == -1);
    CHECK(firewall_import_attack_patterns(write_file("patterns", "# c\none,5\ntwo,with,comma,6\nbad\n")) == 2);
    CHECK(firewall_export_stats(in_folder("stats.json"), 0) == 0 && firewall_export_stats(in_folder("stats.csv"), 1) == 0);
    firewall_cleanup();
    firewall_cleanup();
    Config config;
    memset(&config, 0, sizeof config);
    config.api_keys[0] = strdup("secret");
    config.api_key_count = 1;
    CHECK(firewall_init(&config) == 0);
    CHECK(firewall_check_request("1.1.1.1", "secret") == 0 && firewall_check_request("1.1.1.1", "wrong") == -1);
    CHECK(firewall_get_stats(&stats) == 0 && stats.invalid_api_keys == 1 && stats.active_entries == 1);
    free_config(&config);
    CHECK(config.api_keys[0] == NULL && config.api_key_count == 0);
    free_config(&config);
    firewall_cleanup();
}

static void configuration(void) {
    Config config;
    CHECK(load_config("/nowhere/at/all", &config) == -1 && config.port == 8080 && config.api_key_count == 0);
    const char *file = write_file("old.conf",
                                  "# comment\nport = 9090\r\n api_key = a=b \napi_key = second\nlog_file = some file\n"
                                  "thread_count = abc\nunknown = 1\nno equals\ncache_ttl=5\n");
    CHECK(load_config(file, &config) == 0);
    CHECK(config.port == 9090 && config.thread_count == 0 && config.cache_ttl == 5 && config.max_connections == 1024);
    CHECK(config.api_key_count == 2 && config.enable_firewall == 1 && config.request_timeout == 30000);
    CHECK_TEXT(config.api_keys[0], "a=b");
    CHECK_TEXT(config.log_file, "some file");
    free_config(&config);
    CHECK(config.port == 0 && config.log_file == NULL);
    free_config(NULL);
    /* A file that is too large is read not at all, not in part. */
    file = write_file("large.conf", "port = 9090\n");
    CHECK(truncate(file, (1 << 20) + 1) == 0);
    CHECK(load_config(file, &config) == -1 && config.port == 8080);
    free_config(&config);
    CHECK(load_config(folder, &config) == -1 && config.port == 8080);
    free_config(&config);
}

static void parser(void) {
    HTTPRequest request;
    CHECK(parse_http_request("POST /a%20b?q=1 HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\r\nbody", &request) == 0);
    CHECK(request.method == HTTP_POST && request.header_count == 2 && request.body_length == 4);
    CHECK_TEXT(request.path, "/a%20b");
    CHECK_TEXT(request.query_string, "q=1");
    CHECK_TEXT(request.headers[0], "Host: x");
    CHECK_TEXT(request.content_type, "text/plain");
    CHECK_TEXT(request.body, "body");
    free_http_request(&request);
    CHECK(request.path == NULL);
    free_http_request(&request);
    CHECK(parse_http_request("GET /", &request) == -1 && parse_http_request("GET / HTTP/1.1", &request) == 0);
    CHECK(request.query_string == NULL && request.body == NULL && request.content_type == NULL);
    free_http_request(&request);
    /* A host's own request: header literals are not freed. */
    memset(&request, 0, sizeof request);
    request.path = strdup("/own");
    request.headers[0] = "A: literal";
    request.header_count = 1;
    free_http_request(&request);
    char output[8];
    CHECK(parse_json("{\"prompt\":\"a\\u0041\\n\"}", output, sizeof output) == 0);
    CHECK_TEXT(output, "aA\n");
    CHECK(json_get_value("{\"k\":\"long text here\"}", "k", output, sizeof output) == 0);
    CHECK_TEXT(output, "long te");
    CHECK(json_get_value("{\"k\":1}", "k", output, sizeof output) == -1);
    CHECK(json_get_value("{\"x\":\"k\"}", "k", output, sizeof output) == -1);
    CHECK(json_get_value("{\"k\":\"v\"}", "k", output, 0) == -1);
    JSONValue value;
    CHECK(parse_json_with_fast_tokenizer("{\"first\": [1, 2], \"b\": 2}", 25, &value) == 0);
    CHECK(value.type == JSON_OBJECT && value.value_type == JSON_STRING);
    CHECK_TEXT(value.key, "first");
    CHECK_TEXT(value.value.str, "[1, 2]");
    free(value.key);
    free(value.value.str);
    CHECK(parse_json_with_fast_tokenizer("[1]", 3, &value) == 0 && value.type == JSON_ARRAY && value.key == NULL);
    CHECK(parse_json_with_fast_tokenizer("{bad", 4, &value) == -1 && value.key == NULL && value.value.str == NULL);
    CHECK(parse_json_with_fast_tokenizer("true", 4, NULL) == 0);
}

static void statistics(void) {
    char file[512];
    snprintf(file, sizeof file, "%s", in_folder("stats-of-models.json"));
    ModelStats stats, *all;
    int count;
    CHECK(stats_add_model("m") == -1 && stats_save() == -1 && stats_auto_save() == -1);
    CHECK(stats_init(file, 3600) == 0);
    CHECK(stats_add_model("m") == 0 && stats_add_model("m") == 0);
    CHECK(stats_record_successful_request("m", 10.0, 5) == 0 && stats_record_successful_request("m", 30.0, 7) == 0);
    CHECK(stats_record_failed_request("m") == 0 && stats_record_failed_request("unknown") == -1);
    CHECK(stats_get_model_stats("m", &stats) == 0 && stats.total_requests == 3 && stats.failed_requests == 1);
    CHECK(stats.avg_response_time == 20.0 && stats.min_response_time == 10.0 && stats.max_response_time == 30.0);
    CHECK(stats.total_tokens_processed == 12 && stats.last_used > 0);
    CHECK_TEXT(stats.model_name, "m");
    free(stats.model_name);
    CHECK(stats_auto_save() == -1 && stats_save() == 0);
    stats_cleanup();
    stats_cleanup();
    CHECK(stats_init(file, 0) == 0);
    CHECK(stats_get_all_stats(&all, &count) == 0 && count == 1 && all[0].total_requests == 3);
    free(all[0].model_name);
    free(all);
    CHECK(stats_auto_save() == 0);
    stats_cleanup();
    /* A file of somebody else's is not replaced. */
    const char *foreign = write_file("foreign.json", "{\"requests\": 7}");
    CHECK(stats_init(foreign, 0) == 0 && stats_add_model("m") == 0 && stats_save() == -1);
    stats_cleanup();
    char kept[32] = {0};
    FILE *reader = fopen(foreign, "r");
    CHECK(reader != NULL && fread(kept, 1, sizeof kept - 1, reader) > 0);
    fclose(reader);
    CHECK_TEXT(kept, "{\"requests\": 7}");
}

static void tokens(void) {
    Token **list;
    int count;
    char text[64];
    CHECK(tokenizer_init() == 0);
    CHECK(tokenizer_tokenize("Hello, world 3.14", &list, &count) == 0 && count == 4);
    CHECK_TEXT(list[1]->text, ",");
    CHECK(list[1]->type == 1 && list[3]->type == 2 && list[3]->id == 3);
    CHECK_TEXT(tokenizer_get_type_name(list[0]->type), "word");
    CHECK(tokenizer_detokenize(list, count, text, sizeof text) == 0);
    CHECK_TEXT(text, "Hello,world3.14");
    CHECK(tokenizer_detokenize(list, count, text, 16) == 0 && tokenizer_detokenize(list, count, text, 15) == -1);
    tokenizer_free_tokens(list, count);
    CHECK(tokenizer_tokenize(" ", &list, &count) == 0 && count == 0 && list != NULL);
    tokenizer_free_tokens(list, count);
    CHECK_TEXT(tokenizer_get_type_name(9), "unknown");
    tokenizer_cleanup();
}

static void kernels(void) {
    detect_cpu_features();
    CHECK(cpu_features.sse42 == has_sse42_support() && cpu_features.avx2 == has_avx2_support());
    CHECK(cpu_features.avx512 == has_avx512_support());
    CHECK(crc32_asm("123456789", 9) == 0xCBF43926u && crc32_asm_avx2("123456789", 9) == 0xCBF43926u);
    CHECK(crc32_asm("", 0) == 0 && crc32_asm(NULL, 0) == 0);
    char from[300], to[300];
    for (int i = 0; i < 300; i++) from[i] = (char)i;
    CHECK(memcpy_asm(to, from, 300) == to && memcmp(to, from, 300) == 0);
    memset(to, 0, 300);
    CHECK(memcpy_asm_avx2(to, from, 299) == to && memcmp(to, from, 299) == 0 && to[299] == 0);
    CHECK(memcpy_asm_avx512(to, from, 300) == to && memcmp(to, from, 300) == 0);
    json_fast_tokenizer("{\"a\":[1,2", 9);
    json_fast_tokenizer_avx2("\xff\xfe", 2);
}

static void optimizer(void) {
    PerformanceData data;
    char *report;
    int size;
    CHECK(optimizer_run(NULL) == -1 && optimizer_get_current_data(&data) == -1);
    CHECK(optimizer_init(NULL) == 0);
    CHECK(optimizer_get_average_data(&data) == -1);
    CHECK(optimizer_get_current_data(&data) == 0 && data.memory_usage > 0.1 && data.timestamp > 0);
    CHECK(optimizer_run(NULL) == 0 && optimizer_run(NULL) == 0);
    CHECK(optimizer_get_average_data(&data) == 0 && data.active_connections == 0);
    CHECK(optimizer_set_thresholds(1, 2, 3) == 0 && optimizer_set_thresholds(-1, 2, 3) == -1);
    CHECK(optimizer_set_advanced_thresholds(1, 2, 3, 4, 5) == 0);
    CHECK(optimizer_set_auto_optimization(0) == 0 && optimizer_set_prediction(1) == 0);
    CHECK(optimizer_set_compression(1, 4) == 0 && optimizer_set_compression(1, -1) == -1);
    CHECK(optimizer_set_prediction_logging(10, 0.5) == 0 && optimizer_set_prediction_logging(-1, 0) == -1);
    CHECK(optimizer_set_live_display(0) == 0);
    CHECK(optimizer_generate_report(&report, &size) == 0 && (int)strlen(report) == size);
    CHECK(strstr(report, "memory") != NULL);
    free(report);
    CHECK(optimizer_show_performance() == 0);
    CHECK(adjust_network_buffer_size(4096) == 0 && adjust_thread_pool_size(4) == 0);
    CHECK(get_server_error_rate() == 0.0);
    optimizer_cleanup();
    optimizer_cleanup();
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    snprintf(folder, sizeof folder, "%s", argv[1]);
    cache();
    firewall();
    configuration();
    parser();
    statistics();
    tokens();
    kernels();
    optimizer();
    /* Everything again after its cleanup. */
    cache();
    firewall();
    optimizer();
    return 0;
}
