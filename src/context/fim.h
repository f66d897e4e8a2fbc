/* Fill-in-the-middle prompts: which family a model belongs to and how its prompt is laid out. */
#ifndef CONTEXT_FIM_H
#define CONTEXT_FIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/tokenizer.h"

struct model;

/* PSM: prefix, suffix, middle. SPM: suffix, prefix, middle. */
enum fim_order { FIM_PSM, FIM_SPM, FIM_PREFIX_ONLY };
const char *fim_order_name(enum fim_order order); /* "psm", "spm", "prefix-only" */

#define FIM_MAX_ENDS 12

/* What a model understands. Ids are TOKEN_NONE where the family has no such token. */
struct fim {
    const char *family; /* "qwen", "starcoder", ...; "none" for prefix-only */
    enum fim_order order;
    const char *detected; /* how: "gguf keys", "token text", "name", "none"; for `inline model info` */
    int32_t prefix, suffix, middle; /* tokens that open each part */
    int32_t repo, file;             /* repository name and file separator */
    int32_t ends[FIM_MAX_ENDS];     /* tokens that end a middle */
    int32_t n_ends;
    const struct fim_family *row; /* private */
};

/* Never fails: a model without FIM tokens gets family "none" and order FIM_PREFIX_ONLY. */
void fim_detect(const struct model *m, struct fim *out);

/* The same without a vocabulary, of a family's name ("qwen", ...; "none"): all tokens are TOKEN_NONE, so that
 * only fim_spell and fim_marks are of use. False: there is no such family. */
bool fim_of_family(const char *family, struct fim *out);
/* The family that a model's name tells ("Qwen/Qwen2.5-Coder-7B", "codestral:22b", a file's name); null: none.
 */
const char *fim_family_of_name(const char *name);
/* Names of all families, separated by spaces, appended. */
struct buf;
void fim_families(struct buf *out);

/* A file shown to the model besides the one being edited. Views. */
struct fim_file {
    const char *path; /* relative to the project */
    const char *text;
    size_t text_len;
};

struct fim_input {
    const char *prefix, *suffix; /* text before and after the cursor */
    size_t prefix_len, suffix_len;
    const char *path;             /* of the edited file, or null */
    const char *repo;             /* project's name, or null */
    const char *line_comment;     /* begins a comment in the edited file's language; null: "#" */
    const struct fim_file *files; /* most distant first */
    int32_t n_files;
};

/* What the last fim_build tokenised, so that the next one for the same place computes only what differs.
 * Zero-initialise; one for each document and model; never changes what fim_build returns. */
struct fim_memo {
    struct fim_part *parts; /* owned; private: the project's name, other files, the edited file's name */
    int32_t n_parts;
    struct token_memo prefix, suffix; /* as they were handed over, but for what is surely too much */
    struct token_memo tail, head;     /* what of them was shown, where they did not fit */
    int32_t room; /* bytes by which the prefix can grow before the text is cut elsewhere than it was */
};

/* Tokens that typing may cost besides one for each byte: the end of the text before may be split anew. */
#define FIM_ROOM_MARGIN 8

void fim_memo_clear(struct fim_memo *memo);
size_t fim_memo_bytes(const struct fim_memo *memo);

/* Bytes of text per prompt token beyond which there is no point in handing over more prefix or suffix: code
 * averages three to four, so that this leaves room for text that packs better. */
#define FIM_BYTES_PER_TOKEN 8
/* What tokens are estimated with where there is no tokenizer to count them: on the safe side. */
#define FIM_BYTES_PER_TOKEN_MIN 3

/* Lay out the prompt, replacing what out holds. Text is never parsed for special tokens. max_tokens bounds
 * the prompt. Where prefix and suffix do not fit, the prefix loses its start and the suffix its end, whole
 * lines where possible; the suffix gets a quarter, or as many quarters as the prefix leaves free, so that
 * what is shown of it does not change while somebody types. Other files take at most half and are dropped
 * whole, most distant first; a model without tokens for them sees them as text, each after a comment that
 * names it. memo: or null. The prompt has at least one token. ERR_LIMIT: max_tokens cannot hold even an empty
 * one. */
MUST_CHECK enum err fim_build(const struct fim *f, const struct model *m, const struct fim_input *in,
                              int32_t max_tokens, struct fim_memo *memo, struct token_list *out,
                              struct errmsg *msg);

/* The same prompt as text, for a server that reads special tokens' names as those tokens: laid out as
 * fim_build does, without BOS (the server's tokenizer adds it). Sizes are in bytes. Spellings of the family's
 * tokens that stand in the texts are broken up by a space, so that text stays text. ERR_LIMIT: as fim_build.
 * room: bytes by which the prefix can grow before the text is cut elsewhere than it was; may be null.
 * Replaces what out holds. */
MUST_CHECK enum err fim_spell(const struct fim *f, const struct fim_input *in, size_t max_bytes,
                              struct buf *out, int32_t *room, struct errmsg *msg);
/* The two texts of such a prompt, for a server that puts its tokens around them by itself: before the
 * cursor, with what stands in front of it as text, in the family's format where that needs no tokens; after
 * it. max_bytes bounds both together. */
MUST_CHECK enum err fim_spell_parts(const struct fim *f, const struct fim_input *in, size_t max_bytes,
                                    struct buf *prefix, struct buf *suffix, int32_t *room,
                                    struct errmsg *msg);
/* A document's text as fim_spell shows it, appended. */
void fim_spell_text(const struct fim *f, const char *text, size_t len, struct buf *out);

/* Where a text starts of whose `len` bytes (or tokens) only `keep` remain: it moves in steps, a power of two
 * between an eighth and a quarter of them, so that growing texts share their beginning. 0: all remain. */
size_t fim_step_start(size_t len, size_t keep);

/* Where prefix and suffix are cut by those rules, for who lays them out himself: views of in's texts. */
struct fim_window {
    const char *prefix, *suffix;
    size_t prefix_len, suffix_len;
    int32_t room; /* bytes; 0 where the prefix is cut */
};
void fim_cut_bytes(enum fim_order order, const struct fim_input *in, size_t max_bytes,
                   struct fim_window *out);

/* Where the suffix begins in a prompt whose order is prefix, suffix, middle; else the prompt's length. */
int32_t fim_suffix_start(const struct fim *f, const struct token_list *prompt);

/* What a token of a prompt belongs to. Where the family has no tokens that part it, all is prefix. */
enum fim_part_kind { FIM_PART_CONTEXT, FIM_PART_PREFIX, FIM_PART_SUFFIX };
enum fim_part_kind fim_part_at(const struct fim *f, const struct token_list *prompt, int32_t i);

/* The prompt's text in the order in which drafts are best looked up: what follows the cursor, then what
 * precedes it, so that the text ends where the answer begins. Left empty where the prompt is so ordered. */
MUST_CHECK enum err fim_draft_text(const struct fim *f, const struct token_list *prompt,
                                   struct token_list *out);

#define FIM_MAX_MARKS 8

/* How the family spells the tokens that part a prompt and end a middle. An answer never holds them as text.
 * Returns how many there are; views of constants. */
int32_t fim_marks(const struct fim *f, const char *out[FIM_MAX_MARKS]);

/* True for tokens that end a middle in this family, besides tokenizer_is_eog. */
bool fim_is_end(const struct fim *f, int32_t token);

#endif
