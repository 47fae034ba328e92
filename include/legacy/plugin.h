/* The plugin manager, host side. Plugins themselves export three functions of their own:
 *     int plugin_init(void);   int plugin_process(void *request, void *response);   void plugin_cleanup(void);
 * They do not include this file, whose plugin_init means the manager's. One manager for the process. */
#ifndef AIONIC_PLUGIN_H
#define AIONIC_PLUGIN_H

#ifdef __cplusplus
extern "C" {
#endif

/** Loads every *.so of a directory (NULL: "plugins") in order of file name. 0 also when the directory is
 *  missing or a plugin is refused; the log says why. */
int plugin_init(const char *plugin_dir);

/** Loads one file. -1: not loadable, a function missing, or its init returned non-zero. */
int plugin_load(const char *plugin_path);

/** Calls its cleanup once no request is inside it, closes it, drops it. -1: unknown. */
int plugin_unload(const char *plugin_name);

/** A disabled plugin stays listed but is not called. -1: unknown. */
int plugin_set_enabled(const char *plugin_name, int enabled);

/** Calls every enabled plugin in load order; returns the last non-zero result, else 0. */
int plugin_process_request(void *request, void *response);

/** Names in load order: a malloc'd array of malloc'd strings. 0 or -1. */
int plugin_get_list(char ***plugin_names, int *count);

/** Ends all plugins in reverse order; plugin_init may follow. */
void plugin_cleanup(void);

#ifdef __cplusplus
}
#endif

#endif
