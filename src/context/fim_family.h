/* Private to context/: one row per FIM family (fim.c), read by the prompt builder (fim_prompt.c). */
#ifndef CONTEXT_FIM_FAMILY_H
#define CONTEXT_FIM_FAMILY_H

#include "context/fim.h"

/* U+2581, SentencePiece's visible space, as it stands in spellings. */
#define FIM_SPACE "\xe2\x96\x81"

/* Where a prompt names files: the edited one, and others before it. */
enum fim_files {
    FIM_FILES_AS_TEXT,  /* no format is known: at the start of the prefix, "# path \n text \n", in comments of
                         * the edited file's language */
    FIM_FILES_BEFORE,   /* FILE path \n text ... FILE current \n, then prefix and suffix */
    FIM_FILES_BETWEEN,  /* path \n text FILE ... current \n, then prefix and suffix */
    FIM_FILES_IN_PREFIX /* the same as BEFORE, but at the start of the prefix */
};

/* Token spellings are null where the family has none. */
struct fim_family {
    const char *name;
    enum fim_order order;
    const char *prefix, *suffix, *middle;
    const char *repo, *file;
    enum fim_files files;
    const char *file_mark; /* plain text before a path, where the vocabulary has no file token */
    const char *file_gap;  /* plain text after another file's text */
    /* Families share spellings. A row applies if the pre-tokenizer is `pre`, or if the vocabulary has
     * `needs` and has not `lacks`; a null asks for nothing. */
    const char *pre, *needs, *lacks;
    const char *ends[5]; /* end a middle, besides the tokens above */
};

#endif
