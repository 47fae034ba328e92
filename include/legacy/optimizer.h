/* Samples of the process and the server, thresholds, a report. One for the process. */
#ifndef AIONIC_OPTIMIZER_H
#define AIONIC_OPTIMIZER_H

#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PREDICTION_WINDOW_SIZE 10
#define HISTORY_COMPRESSION_THRESHOLD 50

typedef struct {
    time_t timestamp;
    double cpu_usage;              /**< percent of one core, whole process */
    double memory_usage;           /**< MB resident */
    uint64_t requests_per_second;
    double avg_response_time;      /**< milliseconds */
    int active_connections;
    int thread_pool_utilization;   /**< percent */
    double network_usage;          /**< KB per second, both directions */
    double error_rate;             /**< percent */
} PerformanceData;

/** Starts with default thresholds; config may be NULL. 0. */
int optimizer_init(const Config *config);

/** Call it as often as you like: it samples at most every 5 seconds. server may be NULL. 0. */
int optimizer_run(Server *server);

/** The latest sample, or a fresh measurement. -1 for NULL. */
int optimizer_get_current_data(PerformanceData *data);

/** Means over the history. -1 for NULL or without a sample. */
int optimizer_get_average_data(PerformanceData *data);

/** CPU in percent per core, memory in MB, response time in ms. 0, or -1 for nonsense. */
int optimizer_set_thresholds(double cpu_threshold, double memory_threshold, double response_time_threshold);

/** 0 makes optimizer_run do nothing. */
int optimizer_set_auto_optimization(int enabled);

void optimizer_cleanup(void);

/** Adds network (KB/s) and error rate (percent) to the thresholds. 0, or -1 for nonsense. */
int optimizer_set_advanced_thresholds(double cpu_threshold, double memory_threshold,
                                      double response_time_threshold, double network_threshold,
                                      double error_threshold);

int optimizer_set_prediction(int enabled);                       /**< report a trend. 0 */
int optimizer_set_compression(int enabled, int ratio);           /**< thin out old samples. 0, -1: ratio < 0 */
int optimizer_set_prediction_logging(int interval, double change); /**< 0, -1: negative */
int optimizer_set_live_display(int enabled);                     /**< print each sample. 0 */

/** A malloc'd text and its strlen; the caller frees it. 0 or -1. */
int optimizer_generate_report(char **buffer, int *size);

/** Prints the current sample to standard output. 0. */
int optimizer_show_performance(void);

/** Share of 5xx answers in percent. */
double get_server_error_rate(void);

int adjust_network_buffer_size(int size);   /**< bytes. 0, -1: not positive */
int adjust_thread_pool_size(int size);      /**< threads. 0, -1: not positive */
int cache_increase_size(int percent);       /**< 0, -1: negative */
int cache_reduce_size(int percent);         /**< 0, -1: outside 0 to 100 */

#ifdef __cplusplus
}
#endif

#endif
