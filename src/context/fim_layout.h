/* Private to context/: how a family lays out a prompt, said once for those who write it as tokens
 * (fim_prompt.c) and as text (fim_spell.c).
 *
 * Sizes and budgets are counted by the writer, in tokens or in bytes. */
#ifndef CONTEXT_FIM_LAYOUT_H
#define CONTEXT_FIM_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "context/fim.h"

/* Takes the pieces of a prompt, one after the other. */
struct fim_writer {
    /* One of the family's own tokens: its id and its spelling, of which a writer knows one. */
    enum err (*mark)(void *ctx, int32_t token, const char *spelling);
    enum err (*text)(void *ctx, const char *text, size_t len);
    void *ctx;
};

struct fim_layout {
    const struct fim *f;
    const struct fim_input *in;
    bool has_repo, has_file; /* the writer has marks for the project's name, for files */
    bool is_text;            /* other files are shown as text, in comments of the edited file's language */
    bool is_inside;          /* the header stands at the start of the prefix */
};

void fim_layout_init(struct fim_layout *l, const struct fim *f, const struct fim_input *in, bool has_repo,
                     bool has_file);

/* ---- What stands before the window: the header ---- */

enum fim_header_part { FIM_HEADER_REPO, FIM_HEADER_FILE, FIM_HEADER_NAME };

/* Write a part. A name is a file without text. */
MUST_CHECK enum err fim_layout_part(const struct fim_layout *l, enum fim_header_part part,
                                    const struct fim_file *file, const struct fim_writer *w);

struct fim_header_writer {
    /* How large a part is; SIZE_MAX may stand for any size above `most`. */
    enum err (*measure)(void *ctx, enum fim_header_part part, const struct fim_file *file, size_t most,
                        size_t *size);
    enum err (*write)(void *ctx, enum fim_header_part part, const struct fim_file *file);
    void *ctx;
};

/* Write the project's name, other files, the edited file's name: as many of them as may be shown in a prompt
 * of this room, which is that of the window too. A name is dropped where it would take more than a quarter;
 * other files take at most half, and are dropped whole, from the most distant on. Where all of this is text,
 * the edited file is named only to tell it from others. */
MUST_CHECK enum err fim_layout_header(const struct fim_layout *l, size_t room,
                                      const struct fim_header_writer *w);

/* ---- The whole ---- */

enum fim_slot {
    FIM_SLOT_HEADER,
    FIM_SLOT_PREFIX_MARK,
    FIM_SLOT_PREFIX,
    FIM_SLOT_SUFFIX_MARK,
    FIM_SLOT_SUFFIX,
    FIM_SLOT_MIDDLE_MARK /* the family may have none */
};
#define FIM_MAX_SLOTS 6

/* What a prompt is made of, in its order. Returns how many there are. */
int32_t fim_layout_slots(const struct fim_layout *l, enum fim_slot out[FIM_MAX_SLOTS]);

#endif
