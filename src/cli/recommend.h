/* Which model of the catalogue suits this machine and this project, foretold from a short measurement of the
 * machine and facts of the models; none of them needs to be there. */
#ifndef CLI_RECOMMEND_H
#define CLI_RECOMMEND_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/project_languages.h"
#include "cli/speed.h"
#include "model/catalogue.h"

struct buf;
struct json;
struct settings;

#define RECOMMEND_MAX 32 /* entries of the catalogue */

/* A suggestion while somebody types comes in so many milliseconds, or it comes too late. */
#define RECOMMEND_TYPING_MS 500
/* One that was asked for by hand may take as long as this. */
#define RECOMMEND_ASKED_MS 2000

/* What a keystroke costs: some tokens were typed or changed, and a line or two is suggested. */
#define RECOMMEND_TYPED  8
#define RECOMMEND_TOKENS 16
#define RECOMMEND_PROMPT 1500 /* tokens that are shown of a file that is opened */
#define RECOMMEND_KV     4096 /* positions for which there must be memory (engine.context) */

/* Best first. */
enum recommend_verdict { RECOMMEND_TYPING, RECOMMEND_ASKED, RECOMMEND_SLOW, RECOMMEND_TOO_LARGE };

struct recommend_row {
    const struct catalogue_entry *entry;
    int64_t file_bytes, needed_bytes; /* needed: weights, KV and scratch, of memory */
    double token_ms;                  /* to decode one */
    double suggestion_ms;             /* after a keystroke */
    double first_ms;                  /* the first in a file */
    enum recommend_verdict verdict;
    bool is_strong;  /* made for most of the project's files */
    bool is_foreign; /* knows less than half of them */
    bool is_installed;
};

struct recommendation {
    struct speed speed;
    struct project_languages project;
    int64_t memory_bytes;                     /* that models may take */
    bool is_given;                            /* it was named, not found out */
    struct recommend_row rows[RECOMMEND_MAX]; /* best first */
    int32_t n;
    const struct recommend_row *best; /* null: none fits */
    const struct recommend_row *main; /* a better one for what is asked by hand, beside the best; or null */
};

/* One model's figures on a machine of this speed. */
void recommend_estimate(const struct catalogue_entry *e, const struct speed *speed,
                        struct recommend_row *out);

/* Rows, order and choice, from speed, project and memory_bytes. */
void recommend_choose(struct recommendation *r, const char *models_dir);

/* Measure the machine and look at the folder, in less than two seconds, and choose. memory_bytes 0: what the
 * machine has to give. ERR_NOMEM, ERR_UNSUPPORTED. */
MUST_CHECK enum err recommend_make(const char *dir, int64_t memory_bytes, const struct settings *s,
                                   struct recommendation *out, struct errmsg *msg);

/* The choice in one or several lines, with the command to run. */
void recommend_add_choice(const struct recommendation *r, struct buf *out);
/* Members "machine", "project", "models", "recommended", "pair" and "command", into an object that is open.
 */
void recommend_write(const struct recommendation *r, struct json *j);
const char *recommend_verdict_name(enum recommend_verdict v); /* "typing", ... */

#endif
