/* What the two files of a story share: journal_story.c (who asked, what became of it, what the text is),
 * journal_cost.c (where its milliseconds and tokens went). */
#ifndef WATCH_JOURNAL_STORY_H
#define WATCH_JOURNAL_STORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "watch/journal.h"

#define JOURNAL_LABEL_MAX 32 /* metric_label_name */

struct journal_story {
    const struct journal_record *r;
    const char *model;
    /* "" for none. */
    char outcome[JOURNAL_LABEL_MAX], api[JOURNAL_LABEL_MAX], source[JOURNAL_LABEL_MAX],
        miss[JOURNAL_LABEL_MAX];
    char quiet[JOURNAL_LABEL_MAX], error[JOURNAL_LABEL_MAX];
    struct buf *out;
};

/* "0.3 ms", "184 ms", "1.2 s". */
void journal_story_ms(struct buf *out, double ms);
/* "1,024". */
void journal_story_count(struct buf *out, uint64_t n);
/* "1 token", "1,024 tokens". */
void journal_story_counted(struct buf *out, uint64_t n, const char *what);

/* Where its milliseconds went, and why there. */
void journal_cost_times(const struct journal_story *s);
/* What of its prompt had to be computed, and what was guessed. */
void journal_cost_tokens(const struct journal_story *s);

#endif
