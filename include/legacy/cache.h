/* A cache of byte strings: time to live, least recently used goes first. One for the process. */
#ifndef AIONIC_CACHE_H
#define AIONIC_CACHE_H

#include <stddef.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char *key;
    char *value;
    size_t value_size;
    time_t timestamp;
    time_t ttl;
    int access_count;
} CacheEntry;

/** Capacity in entries, default time to live in seconds. Replaces an earlier cache. -1: size < 1. */
int cache_init(int size, int ttl);

/** Stores a copy. ttl <= 0 means the default. A full cache gives up what is expired, then what was
 *  used least recently. 0, or -1: NULL, size 0, before cache_init. */
int cache_set(const char *key, const char *value, size_t value_size, int ttl);

/** Copies at most value_size bytes of the entry into `value`, adds no NUL and touches nothing beyond.
 *  0 for a hit, -1 for a miss, an expired entry or a bad argument. */
int cache_get(const char *key, char *value, size_t value_size);

/** 0 when removed, -1 when absent. */
int cache_delete(const char *key);

/** Removes all entries; the counters stay. */
int cache_clear(void);

/** Entries now, hits and misses so far. -1 when a pointer is NULL. */
int cache_get_stats(int *entries, int *hits, int *misses);

/** Frees everything; cache_init may follow. */
void cache_cleanup(void);

#ifdef __cplusplus
}
#endif

#endif
