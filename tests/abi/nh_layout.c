/* Sizes and offsets of the public structs: a program that was compiled with them must go on
 * working with every later library of the same ABI. Only ever append. Compiled, not run. */
#include <neurohttp.h>
#include <stddef.h>

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

/* Each field begins where the one before it ends: no padding anywhere. */
#define FIELD(type, field, offset)                                                                 \
    static_assert(offsetof(type, field) == (offset), #type "." #field)

static_assert(sizeof(nh_status) == 4, "nh_status");

static_assert(sizeof(nh_server_options) == 64, "nh_server_options");
FIELD(nh_server_options, struct_size, 0);
FIELD(nh_server_options, config_file, 8);
FIELD(nh_server_options, config_text, 16);
FIELD(nh_server_options, listen, 24);
FIELD(nh_server_options, workers, 32);
FIELD(nh_server_options, flags, 36);
FIELD(nh_server_options, log, 40);
FIELD(nh_server_options, log_user_data, 48);
FIELD(nh_server_options, log_drop, 56);

static_assert(sizeof(nh_client_options) == 56, "nh_client_options");
FIELD(nh_client_options, struct_size, 0);
FIELD(nh_client_options, config_file, 8);
FIELD(nh_client_options, config_text, 16);
FIELD(nh_client_options, flags, 24);
FIELD(nh_client_options, reserved, 28);
FIELD(nh_client_options, log, 32);
FIELD(nh_client_options, log_user_data, 40);
FIELD(nh_client_options, log_drop, 48);

/* The table grows at its end: the size changes with it, the offsets never. */
static_assert(sizeof(nh_plugin_host) == 664, "nh_plugin_host");
FIELD(nh_plugin_host, struct_size, 0);
FIELD(nh_plugin_host, abi, 8);
FIELD(nh_plugin_host, reserved, 12);
FIELD(nh_plugin_host, plugin, 16);
FIELD(nh_plugin_host, server, 24);
FIELD(nh_plugin_host, plugin_log, 32);
FIELD(nh_plugin_host, plugin_config, 40);
FIELD(nh_plugin_host, plugin_config_get, 48);
FIELD(nh_plugin_host, plugin_route, 56);
FIELD(nh_plugin_host, plugin_unroute, 64);
FIELD(nh_plugin_host, plugin_before, 72);
FIELD(nh_plugin_host, plugin_after, 80);
FIELD(nh_plugin_host, nh_status_name, 88);
FIELD(nh_plugin_host, nh_status_message, 96);
FIELD(nh_plugin_host, nh_last_error_message, 104);
FIELD(nh_plugin_host, nh_last_error_http, 112);
FIELD(nh_plugin_host, nh_last_error_retry_after_ms, 120);
FIELD(nh_plugin_host, nh_version, 128);
FIELD(nh_plugin_host, nh_free, 136);
FIELD(nh_plugin_host, nh_server_stop, 144);
FIELD(nh_plugin_host, nh_server_port, 152);
FIELD(nh_plugin_host, nh_server_stats_json, 160);
FIELD(nh_plugin_host, nh_server_client, 168);
FIELD(nh_plugin_host, nh_request_method, 176);
FIELD(nh_plugin_host, nh_request_path, 184);
FIELD(nh_plugin_host, nh_request_target, 192);
FIELD(nh_plugin_host, nh_request_query, 200);
FIELD(nh_plugin_host, nh_request_param, 208);
FIELD(nh_plugin_host, nh_request_header, 216);
FIELD(nh_plugin_host, nh_request_header_count, 224);
FIELD(nh_plugin_host, nh_request_header_at, 232);
FIELD(nh_plugin_host, nh_request_body, 240);
FIELD(nh_plugin_host, nh_request_peer, 248);
FIELD(nh_plugin_host, nh_request_id, 256);
FIELD(nh_plugin_host, nh_response_status, 264);
FIELD(nh_plugin_host, nh_response_header, 272);
FIELD(nh_plugin_host, nh_response_add_header, 280);
FIELD(nh_plugin_host, nh_response_get_status, 288);
FIELD(nh_plugin_host, nh_response_get_header, 296);
FIELD(nh_plugin_host, nh_response_get_body, 304);
FIELD(nh_plugin_host, nh_response_body, 312);
FIELD(nh_plugin_host, nh_response_send, 320);
FIELD(nh_plugin_host, nh_response_defer, 328);
FIELD(nh_plugin_host, nh_response_stream, 336);
FIELD(nh_plugin_host, nh_deferred_send, 344);
FIELD(nh_plugin_host, nh_deferred_response, 352);
FIELD(nh_plugin_host, nh_deferred_done, 360);
FIELD(nh_plugin_host, nh_deferred_cancelled, 368);
FIELD(nh_plugin_host, nh_deferred_free, 376);
FIELD(nh_plugin_host, nh_stream_write, 384);
FIELD(nh_plugin_host, nh_stream_event, 392);
FIELD(nh_plugin_host, nh_stream_wait, 400);
FIELD(nh_plugin_host, nh_stream_on_ready, 408);
FIELD(nh_plugin_host, nh_stream_end, 416);
FIELD(nh_plugin_host, nh_stream_abort, 424);
FIELD(nh_plugin_host, nh_client_cancel, 432);
FIELD(nh_plugin_host, nh_client_free, 440);
FIELD(nh_plugin_host, nh_prompt, 448);
FIELD(nh_plugin_host, nh_chat, 456);
FIELD(nh_plugin_host, nh_chat_stream, 464);
FIELD(nh_plugin_host, nh_delta_text, 472);
FIELD(nh_plugin_host, nh_delta_json, 480);
FIELD(nh_plugin_host, nh_reply_text, 488);
FIELD(nh_plugin_host, nh_reply_json, 496);
FIELD(nh_plugin_host, nh_reply_model, 504);
FIELD(nh_plugin_host, nh_reply_finish_reason, 512);
FIELD(nh_plugin_host, nh_reply_usage, 520);
FIELD(nh_plugin_host, nh_reply_free, 528);
FIELD(nh_plugin_host, nh_models_json, 536);
FIELD(nh_plugin_host, nh_crc32, 544);
FIELD(nh_plugin_host, nh_crc32_update, 552);
FIELD(nh_plugin_host, nh_cpu_level, 560);
FIELD(nh_plugin_host, nh_crc32c, 568);
FIELD(nh_plugin_host, nh_json_find, 576);
FIELD(nh_plugin_host, nh_json_get, 584);
FIELD(nh_plugin_host, nh_copy, 592);
FIELD(nh_plugin_host, plugin_on_prompt, 600);
FIELD(nh_plugin_host, plugin_on_delta, 608);
FIELD(nh_plugin_host, plugin_on_reply, 616);
FIELD(nh_plugin_host, nh_text_edit_text, 624);
FIELD(nh_plugin_host, nh_text_edit_model, 632);
FIELD(nh_plugin_host, nh_text_edit_role, 640);
FIELD(nh_plugin_host, nh_text_edit_replace, 648);
FIELD(nh_plugin_host, nh_count_tokens, 656);

static_assert(sizeof(nh_plugin) == 120, "nh_plugin");
FIELD(nh_plugin, struct_size, 0);
FIELD(nh_plugin, abi, 8);
FIELD(nh_plugin, flags, 12);
FIELD(nh_plugin, name, 16);
FIELD(nh_plugin, version, 24);
FIELD(nh_plugin, summary, 32);
FIELD(nh_plugin, init, 40);
FIELD(nh_plugin, fini, 48);
FIELD(nh_plugin, before, 56);
FIELD(nh_plugin, after, 64);
FIELD(nh_plugin, on_start, 72);
FIELD(nh_plugin, on_stop, 80);
FIELD(nh_plugin, on_connect, 88);
FIELD(nh_plugin, on_disconnect, 96);
FIELD(nh_plugin, on_request, 104);
FIELD(nh_plugin, on_response, 112);

static_assert(sizeof(nh_plugin_outcome) == 32, "nh_plugin_outcome");
FIELD(nh_plugin_outcome, struct_size, 0);
FIELD(nh_plugin_outcome, status, 8);
FIELD(nh_plugin_outcome, reserved, 12);
FIELD(nh_plugin_outcome, body_bytes, 16);
FIELD(nh_plugin_outcome, elapsed_us, 24);
