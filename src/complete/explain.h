/* Why a suggestion is as it is: a JSON object that tells what was in the prompt, how far the answer could go,
 * and why nothing was shown, for people who wonder.
 *
 *     {"path", "language", "inside": "code|comment|string", "extent": "any|line|unit|block", "quiet",
 *      "anchored": whether the window was chosen anew, "secrets": how many were masked,
 *      "prefix", "suffix": the text around the cursor as the model sees it, "lead": how many bytes of the
 * prefix stand in front of the window, "context": [{"kind", "path", "line", "lines", "tokens", "score",
 * "text"}, ...] in the prompt's order}
 */
#ifndef COMPLETE_EXPLAIN_H
#define COMPLETE_EXPLAIN_H

#include "base/buf.h"
#include "complete/question.h"

/* Append it. */
void explain_write(const struct question *q, const struct open_document *doc, struct buf *out);

#endif
