/* Whether two requests of one client, who names no document, are about the same one. */
#ifndef COMPLETE_LIKENESS_H
#define COMPLETE_LIKENESS_H

#include <stdbool.h>

#include "complete/prompt.h"

/* Cheap, and in doubt false: an old answer then comes although nobody waits for it any more, which is better
 * than none for a request that stands for itself. */
bool likeness_is_same_document(const struct prompt_input *older, const struct prompt_input *newer);

#endif
