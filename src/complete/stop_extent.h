/* How far a suggestion may go, judged while its text arrives: to the end of the line, of the statement, or of
 * the block.
 *
 * A block is told by its indentation, a statement by its brackets and by the indentation of the lines after
 * it, so that the rules hold for languages of any kind. Sees one character at a time and looks back at
 * nothing but its own state. */
#ifndef COMPLETE_STOP_EXTENT_H
#define COMPLETE_STOP_EXTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "complete/block_words.h"
#include "complete/code_scan.h"
#include "context/language.h"

/* How far a suggestion may go. */
enum stop_extent {
    STOP_EXTENT_ANY,  /* as far as the model says */
    STOP_EXTENT_LINE, /* to the end of the cursor's line */
    STOP_EXTENT_UNIT, /* to the end of the statement that the cursor is in: of its line, unless brackets that
                         it opened are open there, or it began a block, which then belongs to it */
    STOP_EXTENT_BLOCK /* behind a line that begins a block, as UNIT; on an empty line until a line is indented
                         less, or a definition is complete */
};

/* What a character says about where the text ends. */
enum stop_extent_verdict {
    STOP_EXTENT_GOES_ON,
    STOP_EXTENT_UNDECIDED,   /* the line that it is in may not belong to the text */
    STOP_EXTENT_ENDS_HERE,   /* before this character */
    STOP_EXTENT_ENDS_BEFORE, /* before the line that this character is in, and the blank ones before that */
};

#define STOP_EXTENT_WORD_MAX 12 /* no word that is looked for is longer */

struct stop_extent_word {
    char text[STOP_EXTENT_WORD_MAX];
    size_t len;
    bool is_open; /* the text stands in it */
};

struct stop_extent_rule {
    enum stop_extent extent;
    const struct language *language; /* null: not known */
    const struct block_words *words;
    struct code_scan code;
    bool is_block;     /* the lines of a block from an empty one on, not one statement */
    bool is_last_line; /* the cursor's line ends what earlier ones began ("int b) {"): it says nothing of how
                          much their statement is indented */

    /* The first line of the document after the cursor's that is not blank. */
    bool has_below, below_closes;
    size_t below_indent;

    size_t least; /* lines that are indented less are not inside */
    bool has_least;
    int32_t outer; /* open brackets of the cursor's line before the cursor */

    /* The line that is being written. */
    size_t indent;
    bool is_head;      /* only blanks so far */
    bool is_base;      /* it began at the statement's own indentation, so that it may end the statement */
    bool is_closing;   /* it ends a block of the document */
    bool is_undecided; /* the word at its head will tell whether it belongs to the text */
    int32_t n_blank;   /* lines before it */
    bool is_written;   /* there was a line that is not blank */

    /* The last statement. */
    struct stop_extent_word word; /* at its head; of an undecided line, that line's */
    bool has_body;                /* lines in braces, or indented more */
    bool is_allman; /* the brace stands on a line of its own, and so does "else" (E. Allman's style) */
};

/* line: the cursor's, before the cursor. below: as above, with its indentation; or null. */
void stop_extent_init(struct stop_extent_rule *r, enum stop_extent extent, const struct language *language,
                      const char *line, size_t line_len, const char *below, size_t below_len);
enum stop_extent_verdict stop_extent_char(struct stop_extent_rule *r, char c);
/* The text ends here. */
enum stop_extent_verdict stop_extent_finish(struct stop_extent_rule *r);

#endif
