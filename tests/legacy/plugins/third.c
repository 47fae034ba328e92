/* Calls the manager from inside a request: it unloads itself and asks for the list. */
#include "plugin.h"
#include <stdlib.h>
#include <string.h>

int plugin_process(void *request, void *response);

int plugin_init(const char *ignored) { return ignored != 0; }

int plugin_process(void *request, void *response) {
    char **names;
    int count;
    (void)request;
    (void)response;
    if (plugin_get_list(&names, &count) == 0) {
        for (int i = 0; i < count; i++) free(names[i]);
        free(names);
    }
    plugin_unload("third");
    return 0;
}

void plugin_cleanup(void) {}
