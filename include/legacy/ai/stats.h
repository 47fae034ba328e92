/* Counters per model, kept in a JSON file. One set for the process. */
#ifndef AIONIC_AI_STATS_H
#define AIONIC_AI_STATS_H

#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char *model_name;
    uint64_t total_requests;
    uint64_t successful_requests;
    uint64_t failed_requests;
    double avg_response_time;   /**< over successful requests, like min and max */
    double min_response_time;
    double max_response_time;
    uint64_t total_tokens_processed;
    time_t last_used;
} ModelStats;

/** Loads the file if it is there (NULL: "stats.json"); interval in seconds for stats_auto_save. 0 or -1. */
int stats_init(const char *stats_file, int auto_save_interval);

int stats_add_model(const char *model_name);   /**< known already: 0 */

/* -1 for an unknown model. */
int stats_record_successful_request(const char *model_name, double response_time, int tokens_processed);
int stats_record_failed_request(const char *model_name);

/** Copies out; the caller frees stats->model_name. 0 or -1. */
int stats_get_model_stats(const char *model_name, ModelStats *stats);

/** A malloc'd array; the caller frees each model_name, then the array. 0 or -1. */
int stats_get_all_stats(ModelStats **stats, int *count);

int stats_auto_save(void);   /**< 0 saved; -1 not due, or failed */
int stats_save(void);        /**< 0 or -1 */

/** Saves and frees; stats_init may follow. */
void stats_cleanup(void);

#ifdef __cplusplus
}
#endif

#endif
