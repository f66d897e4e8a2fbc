/* Stands in for remote/remote*.c in the programs that include this header: the same functions, no thread and
 * no network. The test is the servers: it looks at what is asked, gives pieces of answers and ends them. */
#ifndef SUPPORT_STUB_REMOTE_H
#define SUPPORT_STUB_REMOTE_H

#include "remote/remote.h"

/* The remote that was opened last and is not free yet; null: none is. */
struct remote *stub_remote_last(void);
/* What its servers say about the model, from now on. */
void stub_remote_set_traits(struct remote *r, const struct remote_traits *t);

/* Jobs that are not over, in the order of their submission; null: there are no more. */
struct remote_job *stub_remote_job(struct remote *r, int32_t i);
const struct remote_request *stub_remote_request(const struct remote_job *j);
bool stub_remote_is_cancelled(const struct remote_job *j);
/* Have the request prepared; the test fails if that fails. Valid until the job is over. */
const struct remote_ask *stub_remote_prepare(struct remote_job *j);
/* A piece of the answer; prepares first. False: that was enough. */
bool stub_remote_give(struct remote_job *j, const char *text);
/* Over: answered, for this reason; or failed with this message. Cancelled ones must be ended, too. */
void stub_remote_end(struct remote_job *j, enum remote_stop stop);
void stub_remote_fail(struct remote_job *j, const char *message); /* also after text has come */

#endif
