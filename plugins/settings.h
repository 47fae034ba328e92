/* settings.h: how the shipped plugins read their configuration, in either contract. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <ctype.h>
#include <neurohttp.h>
#include <parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Reads one value by its path, as "rate" or "paths.0"; NULL when it is not set. Freed by the caller. */
typedef char *read_value(void *source, const char *path);

/* Out of the server's configuration; `source` is the nh_plugin_host. */
static inline char *read_host_value(void *source, const char *path)
{
    const nh_plugin_host *host = source;
    char *value, *copy = NULL;

    if (host->plugin_config_get(host->plugin, path, &value, NULL) == NH_OK) {
        copy = strdup(value);
        host->nh_free(value);
    }
    return copy;
}

static inline char *trimmed(char *text)
{
    char *end = text + strlen(text);

    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return text + strspn(text, " \t");
}

/* Out of `key = value` lines, where lists are written with commas; `source` is a FILE, NULL for none. */
static inline char *read_file_value(void *source, const char *path)
{
    FILE *file = source;
    char line[2048], *found = NULL;
    const char *dot = strrchr(path, '.');
    size_t key = dot != NULL ? (size_t)(dot - path) : strlen(path);

    if (file == NULL)
        return NULL;
    rewind(file);
    while (found == NULL && fgets(line, sizeof line, file) != NULL) {
        size_t index = dot != NULL ? strtoul(dot + 1, NULL, 10) : 0;
        char *value = strchr(line, '='), *name;

        if (*line == '#' || value == NULL)
            continue;
        *value++ = '\0';
        name = trimmed(line);
        if (strlen(name) != key || strncmp(name, path, key) != 0)
            continue;
        for (; index > 0 && value != NULL; index--)
            if ((value = strchr(value, ',')) != NULL)
                value++;
        if (value == NULL)
            continue;
        if (dot != NULL)
            value[strcspn(value, ",")] = '\0';
        value = trimmed(value);
        if (*value != '\0')
            found = strdup(value);
    }
    return found;
}

/* The file of an old host's plugin: what the variable names, else the usual one, which may be missing.
 * 0, or -1 when a named one cannot be read. */
static inline int open_settings(const char *variable, const char *usual, FILE **file)
{
    const char *named = getenv(variable);

    *file = fopen(named != NULL ? named : usual, "r");
    if (*file != NULL || named == NULL)
        return 0;
    fprintf(stderr, "%s: %s cannot be read\n", variable, named);
    return -1;
}

/* The value of a header of an old request, NULL without one. */
static inline const char *header_of(const HTTPRequest *request, const char *name)
{
    size_t len = strlen(name);
    int i;

    for (i = 0; i < request->header_count; i++) {
        const char *line = request->headers[i];

        if (line != NULL && strncasecmp(line, name, len) == 0 && line[len] == ':')
            return line + len + 1 + strspn(line + len + 1, " ");
    }
    return NULL;
}

#endif
