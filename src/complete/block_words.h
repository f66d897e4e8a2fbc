/* Languages whose blocks begin and end with words instead of brackets. Thread: any; all is constant. */
#ifndef COMPLETE_BLOCK_WORDS_H
#define COMPLETE_BLOCK_WORDS_H

#include "context/language.h"

/* Lists of words with spaces between them; "" where there are none. */
struct block_words {
    const char *language; /* its name; null in the row of all others */
    const char *last;     /* begin a block at the end of a line */
    const char *heads;    /* begin one wherever they stand, behind what belongs to them: "function" */
    const char *closers;  /* end one, at the beginning of a line */
    const char *joins;    /* end one and begin the next, or belong to the line above: "else" */
};

/* Never null; l may be. */
const struct block_words *block_words_of(const struct language *l);

#endif
