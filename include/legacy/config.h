/* Configuration of an old-style server: the aionic.conf grammar (key = value lines). */
#ifndef AIONIC_CONFIG_H
#define AIONIC_CONFIG_H

#ifdef __cplusplus
extern "C" {
#endif

/** What a server is started with. A host may fill it by hand or through load_config. Strings are
 *  malloc'd; free_config releases them. */
typedef struct Config {
    int port;              /**< TCP port on all IPv4 addresses; 0 picks a free one */
    int thread_count;      /**< workers; below 1 counts as 1 */
    int max_connections;   /**< accepting pauses above it */
    int request_timeout;   /**< milliseconds */
    int buffer_size;       /**< bytes */
    char *log_file;        /**< NULL: standard output */
    char *api_keys[64];    /**< keys that guard the built-in /v1 pages, in order */
    int api_key_count;     /**< used entries of api_keys */
    int enable_cache;      /**< non-zero: answers may be cached */
    int cache_size;        /**< entries */
    int cache_ttl;         /**< seconds */
    int enable_firewall;   /**< non-zero: requests are inspected */
    int enable_optimization; /**< non-zero: the optimizer runs */
} Config;

/** Overwrites *config with the defaults, then applies the file. What the struct held before is not
 *  freed. Returns 0, or -1 for NULL or an unreadable file (the struct then holds the defaults). */
int load_config(const char *filename, Config *config);

/** Frees log_file and the keys, then zeroes the struct. NULL is ignored; a zeroed struct is fine. */
void free_config(Config *config);

#ifdef __cplusplus
}
#endif

#endif
