/* Calls its own plugin_cleanup from plugin_init: it must not get the manager's. Its plugin_init has the
 * parameter that plugin.h forces on plugins which include it. */
#include "plugin.h"
#include "utils.h"

extern int second_cleanups;
int second_cleanups;

int plugin_process(void *request, void *response);

int plugin_init(const char *ignored) {
    plugin_cleanup();
    log_message("SECOND", "ready");
    return ignored == 0 && second_cleanups == 1 ? 0 : 7;
}

int plugin_process(void *request, void *response) { return request == response ? 3 : 0; }

void plugin_cleanup(void) { second_cleanups++; }
