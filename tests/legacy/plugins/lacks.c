/* Lacks plugin_init and plugin_cleanup: the manager's functions of that name must not be taken. */
int plugin_process(void *request, void *response);
int plugin_process(void *request, void *response) { return request == response; }
