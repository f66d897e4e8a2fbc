/* The text that `inline model plan --measure` measures perplexity on. */
#ifndef CLI_SAMPLE_TEXT_H
#define CLI_SAMPLE_TEXT_H

extern const char *const sample_text[]; /* in pieces, newlines included; ends with null */

#endif
