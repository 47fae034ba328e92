/* A plugin of the old contract: answers, refuses and adds headers, as its header says. */
#include "parser.h"
#include <stdlib.h>
#include <string.h>

static int rounds;

static char *copy(const char *text)
{
    char *given = malloc(strlen(text) + 1);

    return given != NULL ? strcpy(given, text) : NULL;
}

int plugin_init(void);
int plugin_init(void) { return 0; }

int plugin_process(void *request, void *response);
int plugin_process(void *request, void *response)
{
    HTTPRequest *asked = request;
    RouteResponse *answer = response;

    rounds++;
    answer->headers[answer->header_count++] = copy("X-Old: yes");
    if (strcmp(asked->path, "/old/answer") == 0) {
        answer->data = copy("HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\nX-Mine: 1\r\n\r\nold");
        answer->length = strlen(answer->data);
        return 0;
    }
    if (strcmp(asked->path, "/old/limit") == 0) {
        answer->status_code = 429;
        return 7;
    }
    if (strcmp(asked->path, "/old/body") == 0 && asked->method == HTTP_POST) {
        answer->data = copy(asked->body);
        answer->length = asked->body_length;
        return 0;
    }
    return strcmp(asked->path, "/old/refuse") == 0 ? -1 : 0;
}

void plugin_cleanup(void);
void plugin_cleanup(void) {}
