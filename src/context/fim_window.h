/* Private to context/: where a window's text is cut, in whatever unit its room is counted: tokens
 * (fim_prompt.c) or bytes (fim_spell.c).
 *
 * Where a prefix does not fit, its start is anchored: it moves in steps of about a quarter of the window
 * rather than with each typed character. The share of a suffix that does not fit is counted in quarters. So
 * successive prompts have their beginning in common, and what was computed for it. */
#ifndef CONTEXT_FIM_WINDOW_H
#define CONTEXT_FIM_WINDOW_H

#include <stdbool.h>
#include <stddef.h>

#include "context/fim.h"

struct fim_span {
    const char *text;
    size_t len;
};

/* Where to start so that at most the last `keep` bytes remain: at the first line after the next step
 * (fim_step_start); or, where that would drop half of the text that fits, at the next character. */
size_t fim_span_start(struct fim_span s, size_t keep);

/* Where to end so that at most the first `keep` bytes (< s.len) remain: after a line, or else after a
 * character. */
size_t fim_span_end(struct fim_span s, size_t keep);

/* What a suffix gets that does not fit: the quarters of the room that the prefix leaves, at least one. */
size_t fim_suffix_share(size_t room, size_t prefix);

/* By how much a prefix that is not cut can grow until one of the cuts moves: until it needs another quarter
 * of a suffix that is cut, or all of the room. */
size_t fim_room_left(size_t room, size_t prefix, size_t suffix, bool is_suffix_cut);

#endif
