/* A well-behaved plugin: adds a header, refuses one path, answers another. */
#include "parser.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern int first_calls, first_ended;
int first_calls, first_ended;

int plugin_init(void);
int plugin_process(void *request, void *response);
void plugin_cleanup(void);

int plugin_init(void) { return 0; }

int plugin_process(void *request_pointer, void *response_pointer) {
    HTTPRequest *request = request_pointer;
    RouteResponse *response = response_pointer;
    __atomic_fetch_add(&first_calls, 1, __ATOMIC_RELAXED);
    if (strcmp(request->path, "/slow-plugin") == 0) usleep(200000);
    if (strcmp(request->path, "/refused") == 0) return 5;
    if (strcmp(request->path, "/limited") == 0) {
        response->status_code = 429;
        response->data = strdup("{\"slow\":\"down\"}");
        response->length = strlen(response->data);
        return 1;
    }
    if (strcmp(request->path, "/from-plugin") == 0) {
        response->data = strdup("plugin text");
        response->length = strlen(response->data);
        return 0;
    }
    if (response->header_count < 32) response->headers[response->header_count++] = strdup("X-First: seen");
    return 0;
}

void plugin_cleanup(void) { first_ended = 1; }
