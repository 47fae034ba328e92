/* Prompts to models that speak OpenAI's chat completions. One table for the process. */
#ifndef AIONIC_AI_PROMPT_ROUTER_H
#define AIONIC_AI_PROMPT_ROUTER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Adds the three built-in models; repeating it is harmless. 0. */
int prompt_router_init(void);

/** Adds or replaces a model. The endpoint is a full http or https URL. 0 or -1. */
int prompt_router_add_model(const char *name, const char *api_endpoint, int max_tokens, float temperature);

int prompt_router_remove_model(const char *name);                          /**< 0, or -1: unknown */
int prompt_router_set_default_model(const char *name);                     /**< 0, or -1: unknown */
int prompt_router_set_model_availability(const char *name, int available); /**< 0, or -1: unknown */

/** Sends the prompt (model NULL: the default) with the key in $OPENAI_API_KEY and puts the answer into
 *  `response`, cut to response_size - 1 and NUL-terminated. Blocks; calls from several threads run side by
 *  side. 0, or -1: bad argument, unknown or unavailable model, transport or HTTP error (`response` then
 *  holds a short reason). */
int prompt_router_route(const char *prompt, const char *model_name, char *response, size_t response_size);

/** Names: a malloc'd array of malloc'd strings. 0 or -1. */
int prompt_router_get_models(char ***models, int *count);

void prompt_router_cleanup(void);

#ifdef __cplusplus
}
#endif

#endif
