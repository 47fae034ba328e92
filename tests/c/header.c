/* The header alone: included twice, every macro expanded, layouts as they are promised. */
#include <neurohttp.h>
#include <neurohttp.h>
#include <stdio.h>
#include <string.h>

#define FIRST_OF_ITS_KIND(name, wanted)                                                            \
    do {                                                                                           \
        if ((name) != (wanted) || strcmp(nh_status_name(name), #name) != 0 ||                      \
            strlen(nh_status_message(name)) < 5) {                                                 \
            fprintf(stderr, "%s: number %d, name %s, message %s\n", #name, (int)(name),            \
                    nh_status_name(name), nh_status_message(name));                                \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

_Static_assert(sizeof(nh_status) == 4, "statuses are 32 bits");
_Static_assert(NH_ZERO_TERMINATED == SIZE_MAX, "the mark for strlen");
_Static_assert(NH_ABI_VERSION == 1, "the first ABI");
_Static_assert(NH_VERSION_MAJOR == 1 && NH_VERSION_MINOR == 0 && NH_VERSION_PATCH == 0, "1.0.0");
_Static_assert(NH_LOG_ERROR == 1 && NH_LOG_WARN == 2 && NH_LOG_INFO == 3 && NH_LOG_DEBUG == 4 &&
                   NH_LOG_TRACE == 5,
               "levels of the log");
#ifndef NEUROHTTP_H
#error "the header has no guard"
#endif
_Static_assert(NH_SERVER_NO_ENV == 1u && NH_SERVER_NO_BUILTINS == 2u, "server flags");
_Static_assert(NH_CLIENT_NO_ENV == 1u, "client flags");
_Static_assert(NH_ROUTE_BLOCKING == 1u && NH_ROUTE_CACHE == 2u, "route flags");
_Static_assert(NH_NEXT == 0 && NH_ANSWERED == 1, "what a middleware returns");
#if UINTPTR_MAX == 0xffffffffffffffffu
_Static_assert(sizeof(nh_server_options) == 64, "no hidden field");
_Static_assert(offsetof(nh_server_options, struct_size) == 0, "the size comes first");
_Static_assert(offsetof(nh_server_options, config_file) == 8, "config_file");
_Static_assert(offsetof(nh_server_options, config_text) == 16, "config_text");
_Static_assert(offsetof(nh_server_options, listen) == 24, "listen");
_Static_assert(offsetof(nh_server_options, workers) == 32, "workers");
_Static_assert(offsetof(nh_server_options, flags) == 36, "flags");
_Static_assert(offsetof(nh_server_options, log) == 40, "log");
_Static_assert(offsetof(nh_server_options, log_user_data) == 48, "log_user_data");
_Static_assert(offsetof(nh_server_options, log_drop) == 56, "log_drop");
_Static_assert(sizeof(nh_client_options) == 56, "no hidden field there either");
_Static_assert(offsetof(nh_client_options, log_drop) == 48, "log_drop of a client");
#endif

int main(void)
{
    int failures = 0;

    FIRST_OF_ITS_KIND(NH_OK, 0);
    FIRST_OF_ITS_KIND(NH_ERR_INVALID_ARGUMENT, -1);
    FIRST_OF_ITS_KIND(NH_ERR_INVALID_PATTERN, -2);
    FIRST_OF_ITS_KIND(NH_ERR_DUPLICATE, -3);
    FIRST_OF_ITS_KIND(NH_ERR_NOT_FOUND, -4);
    FIRST_OF_ITS_KIND(NH_ERR_STATE, -5);
    FIRST_OF_ITS_KIND(NH_ERR_CONFIG, -6);
    FIRST_OF_ITS_KIND(NH_ERR_IO, -7);
    FIRST_OF_ITS_KIND(NH_ERR_ADDRESS_IN_USE, -8);
    FIRST_OF_ITS_KIND(NH_ERR_MEMORY, -9);
    FIRST_OF_ITS_KIND(NH_ERR_LIMIT, -10);
    FIRST_OF_ITS_KIND(NH_ERR_WOULD_BLOCK, -11);
    FIRST_OF_ITS_KIND(NH_ERR_CLOSED, -12);
    FIRST_OF_ITS_KIND(NH_ERR_CANCELLED, -13);
    FIRST_OF_ITS_KIND(NH_ERR_TIMEOUT, -14);
    FIRST_OF_ITS_KIND(NH_ERR_UPSTREAM, -15);
    FIRST_OF_ITS_KIND(NH_ERR_DENIED, -16);
    FIRST_OF_ITS_KIND(NH_ERR_UNSUPPORTED, -17);
    FIRST_OF_ITS_KIND(NH_ERR_PLUGIN, -18);
    FIRST_OF_ITS_KIND(NH_ERR_PANIC, -19);

    if (nh_status_name(-9999) == NULL || nh_status_message(12345) == NULL)
        failures++;
    if (nh_abi_version() != NH_ABI_VERSION || strcmp(nh_version(), "1.0.0") != 0)
        failures++;
    if (nh_last_error_message() == NULL || nh_last_error_http() != 0 ||
        nh_last_error_retry_after_ms() != -1)
        failures++; /* nothing has failed on this thread */
    return failures;
}
