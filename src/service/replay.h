/* An answer from a cache, as it stands at the place where it is asked: the text that was generated, less what
 * of it was typed since, judged by the rules of the new place as if the model were generating it now. */
#ifndef SERVICE_REPLAY_H
#define SERVICE_REPLAY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "complete/complete.h"
#include "service/service.h"
#include "service/snapshot.h"
#include "context/fim.h"
#include "store/record.h"

struct replay {
    struct buf texts[SERVICE_CANDIDATES_MAX];
    struct service_candidate
        candidates[SERVICE_CANDIDATES_MAX]; /* distinct; views of texts, and of the snapshot */
    int32_t n;
};

/* What the record answers to the question s, of which the first n_typed bytes of its first candidate are
 * typed (0 where more than one candidate is asked for). False: more is wanted than what was generated; out is
 * empty then. An answer that ended at its limit of tokens serves until half of it is typed. */
bool replay_record(const struct fim *fim, const struct snapshot *s, const struct record *r, size_t n_typed,
                   struct replay *out);
void replay_clear(struct replay *r);

#endif
