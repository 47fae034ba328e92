/* Its init fails: its cleanup is not called. */
#include <stdlib.h>
int plugin_init(void);
int plugin_process(void *request, void *response);
void plugin_cleanup(void);
int plugin_init(void) { return 9; }
int plugin_process(void *request, void *response) { return request == response; }
void plugin_cleanup(void) { abort(); }
