/* The firewall of the old interface: address lists, rates, patterns, scores. One for the process: servers
 * that run with enable_firewall share its lists, its blocks and its counters. */
#ifndef AIONIC_FIREWALL_H
#define AIONIC_FIREWALL_H

#include <time.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DEFAULT_RATE_LIMIT_PER_MINUTE 60
#define DEFAULT_BLOCK_DURATION_MINUTES 5
#define DEFAULT_SUSPICIOUS_THRESHOLD 50
#define DEFAULT_BRUTE_FORCE_THRESHOLD 10
#define FIREWALL_VERSION_STRING "2.0.0"

struct Config;

typedef enum {
    BLOCK_REASON_RATE_LIMIT,
    BLOCK_REASON_BRUTE_FORCE,
    BLOCK_REASON_ATTACK_PATTERN,
    BLOCK_REASON_SUSPICIOUS
} BlockReason;

typedef struct {
    char *ip_address;
    int request_count;
    time_t last_request;
    int is_blocked;
    time_t block_start_time;
    int suspicious_score;
} FirewallEntry;

typedef struct {
    char *ip_address;
    int permanent;
    time_t expiry_time;
} WhitelistEntry;

typedef struct {
    char *ip_address;
    BlockReason reason;
    char description[256];
    time_t added_time;
} BlacklistEntry;

typedef struct {
    char pattern[256];
    int severity;          /**< 1 to 10 */
    time_t last_detected;
} AttackPattern;

typedef struct {
    int max_requests_per_minute;
    int block_duration_minutes;
    int suspicious_threshold;
    int brute_force_threshold;
    int brute_force_window_seconds;
} RateLimitConfig;

typedef struct {
    unsigned long total_requests;
    unsigned long blocked_requests;
    unsigned long suspicious_activities;
    unsigned long brute_force_attempts;
    unsigned long invalid_api_keys;
    unsigned long attack_pattern_hits;
    int active_entries;
    int whitelisted_ips;
    int blacklisted_ips;
    time_t start_time;
} FirewallStats;

/** Starts with the built-in patterns and default limits; copies the api keys of *config (may be NULL).
 *  A second call without firewall_cleanup between changes nothing. 0. */
int firewall_init(const struct Config *config);

/** firewall_check_request_enhanced without request data and user agent. */
int firewall_check_request(const char *ip, const char *api_key);

/** Judges one request. Addresses are compared as text; request_data and user_agent may be NULL.
 *  0: let it pass, -1: refuse it. */
int firewall_check_request_enhanced(const char *ip, const char *api_key, const char *request_data,
                                    const char *user_agent);

/** Blocks from now, for the configured time. 0 or -1. */
int firewall_block_ip(const char *ip);

/** Forgets block, count and score. An unknown address is fine. 0 or -1. */
int firewall_unblock_ip(const char *ip);

/* Lists: a malloc'd array of malloc'd strings; free each, then the array, which is never NULL. */
int firewall_get_blocked_ips(char ***ips, int *count);
int firewall_get_suspicious_ips(char ***ips, int *count, int threshold);  /**< score above threshold (>= 0) */
int firewall_get_whitelisted_ips(char ***ips, int *count);
int firewall_get_blacklisted_ips(char ***ips, int *count);

/** Lets an address pass for `duration` seconds, or for good. Present already: 0, unchanged. */
int firewall_add_to_whitelist(const char *ip, int permanent, time_t duration);
int firewall_remove_from_whitelist(const char *ip);  /**< 0, or -1 when absent */

/** Refuses an address; the description is cut to 255 bytes, NULL is "". Present already: 0. */
int firewall_add_to_blacklist(const char *ip, BlockReason reason, const char *description);
int firewall_remove_from_blacklist(const char *ip);  /**< 0, or -1 when absent */

int firewall_is_whitelisted(const char *ip);  /**< 1 or 0 */
int firewall_is_blacklisted(const char *ip);  /**< 1 or 0 */

/** Adds a text to look for, case-insensitively. Severity 1 to 10, else -1; a duplicate is 0. */
int firewall_add_attack_pattern(const char *pattern, int severity);
int firewall_remove_attack_pattern(const char *pattern);  /**< 0, or -1 when absent */

/** A malloc'd array; one free releases it. */
int firewall_get_attack_patterns(AttackPattern **patterns, int *count);

int firewall_get_stats(FirewallStats *stats);                        /**< copies out; -1 for NULL */
int firewall_configure_rate_limits(const RateLimitConfig *config);   /**< copies in; -1 for NULL */
int firewall_get_rate_limit_config(RateLimitConfig *config);         /**< copies out; -1 for NULL */

/** Why the address is blocked now: 0 and *reason, or -1 when it is not. */
int firewall_get_block_reason(const char *ip, BlockReason *reason);

/** Drops entries, lists, patterns, keys and counters; rate limits stay. 0. */
int firewall_clear_all(void);

/** Writes limits, lists and patterns as text; firewall_load_config adds them to what is there. */
int firewall_save_config(const char *filename);
int firewall_load_config(const char *filename);

/** Writes the counters: format 0 is JSON, any other CSV. 0 or -1. */
int firewall_export_stats(const char *filename, int format);

/** Reads "pattern,severity" lines. Returns how many were taken, -1 when unreadable. */
int firewall_import_attack_patterns(const char *filename);

/** Frees everything; harmless twice; firewall_init may follow. */
void firewall_cleanup(void);

#ifdef __cplusplus
}
#endif

#endif
