/* Every macro of the header, expanded inside a larger expression: a value that changed, or one
 * that falls apart next to an operator, does not compile. Compiled, not run. */
#include <neurohttp.h>

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

#define CHECK(macro, value)                                                                        \
    static_assert(macro == (value) && 2 * macro == 2 * (value) && 0 - macro == 0 - (value), #macro)

CHECK(NH_ZERO_TERMINATED, (size_t)-1);

CHECK(NH_VERSION_MAJOR, 1u);
CHECK(NH_VERSION_MINOR, 0u);
CHECK(NH_VERSION_PATCH, 0u);
CHECK(NH_ABI_VERSION, 1u);

CHECK(NH_OK, 0);
CHECK(NH_ERR_INVALID_ARGUMENT, -1);
CHECK(NH_ERR_INVALID_PATTERN, -2);
CHECK(NH_ERR_DUPLICATE, -3);
CHECK(NH_ERR_NOT_FOUND, -4);
CHECK(NH_ERR_STATE, -5);
CHECK(NH_ERR_CONFIG, -6);
CHECK(NH_ERR_IO, -7);
CHECK(NH_ERR_ADDRESS_IN_USE, -8);
CHECK(NH_ERR_MEMORY, -9);
CHECK(NH_ERR_LIMIT, -10);
CHECK(NH_ERR_WOULD_BLOCK, -11);
CHECK(NH_ERR_CLOSED, -12);
CHECK(NH_ERR_CANCELLED, -13);
CHECK(NH_ERR_TIMEOUT, -14);
CHECK(NH_ERR_UPSTREAM, -15);
CHECK(NH_ERR_DENIED, -16);
CHECK(NH_ERR_UNSUPPORTED, -17);
CHECK(NH_ERR_PLUGIN, -18);
CHECK(NH_ERR_PANIC, -19);

CHECK(NH_LOG_ERROR, 1);
CHECK(NH_LOG_WARN, 2);
CHECK(NH_LOG_INFO, 3);
CHECK(NH_LOG_DEBUG, 4);
CHECK(NH_LOG_TRACE, 5);

CHECK(NH_SERVER_NO_ENV, 1u);
CHECK(NH_SERVER_NO_BUILTINS, 2u);
CHECK(NH_CLIENT_NO_ENV, 1u);
CHECK(NH_ROUTE_BLOCKING, 1u);
CHECK(NH_ROUTE_CACHE, 2u);
CHECK(NH_FIREWALL_STATS_JSON, 0u);
CHECK(NH_FIREWALL_STATS_CSV, 1u);
CHECK(NH_NEXT, 0);
CHECK(NH_ANSWERED, 1);
CHECK(NH_PLUGIN_ABI, 1u);
CHECK(NH_PLUGIN_BLOCKING, 1u);

/* Those that a preprocessor condition may use. */
#if NH_VERSION_MAJOR < 1 || NH_ABI_VERSION != 1
#error "the version cannot be compared by the preprocessor"
#endif
