/* Reading code character by character: which brackets are open, and whether the text stands in a string or a
 * comment. Knows a language's quotes and comment marks and no more of its grammar; where it is wrong, the end
 * of the line mostly sets it right. */
#ifndef COMPLETE_CODE_SCAN_H
#define COMPLETE_CODE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "context/language.h"

#define CODE_SCAN_MARK_MAX 4 /* longest comment mark: "<!--" */

enum code_scan_comment { CODE_SCAN_CODE, CODE_SCAN_LINE_COMMENT, CODE_SCAN_BLOCK_COMMENT };

struct code_scan {
    int32_t depth; /* brackets that are open; negative: some were closed that did not open here */
    char last[CODE_SCAN_MARK_MAX + 1]; /* the last characters of code that are not blank; newest first */

    /* Private from here on. */
    const struct language *language; /* null: not known */
    enum code_scan_comment comment;
    char recent[CODE_SCAN_MARK_MAX + 1]; /* the last characters; newest first */
    char quote;                          /* of the string that the text is in; or 0 */
    bool is_triple, is_escaped;
    int32_t n_parens; /* round brackets that are open */
    int32_t n_quotes; /* quotes in a row: three begin and end a string that goes over lines */
};

void code_scan_init(struct code_scan *s, const struct language *language);
void code_scan_char(struct code_scan *s, char c);

/* In a string or a comment that goes on over the end of the line. */
bool code_scan_is_text(const struct code_scan *s);

#endif
