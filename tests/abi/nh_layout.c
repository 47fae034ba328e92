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
