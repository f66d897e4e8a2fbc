/* Known holes, which tell whether a server fills in the middle: text with a gap whose filling only the text
 * behind the gap gives away. For `inline model check`. */
#ifndef CLI_MODEL_REMOTE_HOLE_H
#define CLI_MODEL_REMOTE_HOLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "remote/remote.h"

#define HOLES         2 /* each in two variants, which differ behind the gap only */
#define HOLE_VARIANTS 2

struct hole {
    const char *path, *before, *after;
    const char *word; /* in the filling, and in nothing before the gap */
};
const struct hole *hole_at(int i, int variant);

struct hole_answer {
    bool is_there; /* else the request failed, as the report tells, or was never made */
    struct remote_report report;
    struct buf raw;  /* what the server sent; owned */
    struct buf text; /* what the daemon would show of it; owned */
};
/* Complete it as the daemon would, but to the end of the answer. fim: the setting. False: it failed. Waits.
 */
bool hole_ask(struct remote *r, const char *fim, int32_t n_ctx, const struct hole *h,
              struct hole_answer *out);
void hole_answer_clear(struct hole_answer *a); /* tolerates a zeroed one */

enum hole_verdict {
    HOLE_RIGHT,
    HOLE_EMPTY,
    HOLE_MARKS, /* names of FIM tokens stand in it, as text */
    HOLE_CHAT,  /* it talks about the code, or writes it anew from the start */
    HOLE_OTHER  /* code, but not what was missing */
};
/* Pure. *mark is the token's name of HOLE_MARKS. */
enum hole_verdict hole_judge(const struct hole *h, const char *raw, const char **mark);

#endif
