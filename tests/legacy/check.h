/* check.h: what the tests of the old headers share. A failed check says where and ends the program. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);          \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

#define CHECK_TEXT(text, wanted)                                                             \
    do {                                                                                     \
        const char *check_text = (text);                                                     \
        if (check_text == NULL || strcmp(check_text, (wanted)) != 0) {                       \
            fprintf(stderr, "%s:%d: %s is \"%s\", wanted \"%s\"\n", __FILE__, __LINE__, #text, \
                    check_text ? check_text : "(null)", (wanted));                           \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

/* A text that the caller must free. */
#define CHECK_GIVEN(call, wanted)                                                            \
    do {                                                                                     \
        char *check_given = (call);                                                          \
        CHECK_TEXT(check_given, wanted);                                                     \
        free(check_given);                                                                   \
    } while (0)

static inline void free_list(char **list, int count) {
    CHECK(list != NULL);
    for (int i = 0; i < count; i++) free(list[i]);
    free(list);
}

#endif
