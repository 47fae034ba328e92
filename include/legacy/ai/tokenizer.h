/* Splits text into words, numbers and punctuation. Not a model's vocabulary: ids are positions. */
#ifndef AIONIC_AI_TOKENIZER_H
#define AIONIC_AI_TOKENIZER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char *text;
    int id;     /**< 0, 1, 2 ... in the text */
    int type;   /**< 0 word, 1 punctuation, 2 number, 3 special */
} Token;

int tokenizer_init(void);       /**< 0; tokenizing works without it */
void tokenizer_cleanup(void);

/** Gives a malloc'd array of malloc'd tokens; tokenizer_free_tokens releases it, also with count 0.
 *  0, or -1 for NULL. */
int tokenizer_tokenize(const char *text, Token ***tokens, int *count);

/** Joins the texts, with one blank between two adjacent words. 0, or -1: NULL, count < 1, no room. */
int tokenizer_detokenize(Token **tokens, int count, char *output, size_t output_size);

void tokenizer_free_tokens(Token **tokens, int count);
void tokenizer_free_token(Token *token);

const char *tokenizer_get_type_name(int type);   /**< static: word punctuation number special unknown */

#ifdef __cplusplus
}
#endif

#endif
