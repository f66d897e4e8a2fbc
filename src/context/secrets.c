/* Finding secrets.
 *
 * Built-in rules (secret_rules.c) begin with anchors. One pass over the text looks each three bytes up in a
 * table of the anchors' first three; only where one stands is its expression tried. So nothing is missed that
 * the expressions would find, and ordinary text costs a nanosecond per byte. The expressions of users have no
 * anchors: they are tried line by line. Where one takes too long to decide, that line counts as a secret. */
#include "context/secrets.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "context/secret_block.h"
#include "context/secret_name.h"
#include "context/secret_rules.h"
#include "context/secret_value.h"

#define RULES_MAX   128
#define ANCHORS_MAX 255
#define USER_MAX    64 /* patterns of either kind that a user may add */
#define CODE_BITS   5  /* of a folded byte; three of them index the table */
#define N_CODES     (1u << 3 * CODE_BITS)
/* Of the token with two dots: between them, and from its beginning to the second. */
#define DOTS_APART ((size_t)7)
#define DOTTED_MAX ((size_t)40)
/* Steps of one match: far more than any sensible expression needs on a line, and few milliseconds. */
#define MATCH_STEPS 20000
#define HEAP_KIB    1024
/* Users' expressions see this much of a line at a time: lines of generated files have megabytes. */
#define PIECE_BYTES ((size_t)4096)

struct anchor {
    const char *text; /* a view of the rule's */
    uint8_t len, rule;
    uint8_t next; /* with the same first three bytes, 1 + index; 0: none */
};

struct secrets {
    pcre2_code *rules[RULES_MAX]; /* of secret_rules, by index */
    struct anchor anchors[ANCHORS_MAX];
    int32_t n_anchors;
    uint8_t fold[256];      /* letters of either case to 1..26, some signs to the rest, others to 0 */
    uint8_t table[N_CODES]; /* the first anchor with these three bytes, 1 + index; 0: none */
    int32_t dotted_rule;    /* the one without an anchor */
    pcre2_match_context *limits;
    pcre2_code *user[USER_MAX];
    int32_t n_user;
    char *names; /* owned; the user's, each ended by a NUL */
    size_t names_len;
};

/* --- Making ------------------------------------------------------------------------------------------ */

static enum err compile(const char *regex, size_t len, uint32_t options, pcre2_code **out, struct errmsg *msg)
{
    int code;
    size_t at;
    *out = pcre2_compile((PCRE2_SPTR)regex, len, options | PCRE2_MULTILINE, &code, &at, NULL);
    if (!*out) {
        char why[128];
        (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return err_set(msg, ERR_ARG, "\"%.*s\" is no regular expression: %s, at character %zu", (int)len,
                       regex, why, at + 1);
    }
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* without it matching is slower, not different */
    return OK;
}

static void init_fold(struct secrets *s)
{
    static const char signs[] = "-_:/.";
    for (int c = 'a'; c <= 'z'; c++) {
        s->fold[c] = (uint8_t)(c - 'a' + 1);
        s->fold[c - 'a' + 'A'] = s->fold[c];
    }
    for (int i = 0; signs[i]; i++) s->fold[(unsigned char)signs[i]] = (uint8_t)(27 + i);
}

static uint32_t code_at(const struct secrets *s, const char *text)
{
    const unsigned char *t = (const unsigned char *)text;
    return (uint32_t)s->fold[t[0]] << 2 * CODE_BITS | (uint32_t)s->fold[t[1]] << CODE_BITS | s->fold[t[2]];
}

static enum err add_anchors(struct secrets *s, int32_t rule, struct errmsg *msg)
{
    if (!secret_rules[rule].anchors[0]) s->dotted_rule = rule;
    for (const char *at = secret_rules[rule].anchors; *at;) {
        size_t len = strcspn(at, " ");
        if (s->n_anchors == ANCHORS_MAX) return err_set(msg, ERR_LIMIT, "too many anchors");
        uint8_t *head = &s->table[code_at(s, at)];
        s->anchors[s->n_anchors] =
            (struct anchor){.text = at, .len = (uint8_t)len, .rule = (uint8_t)rule, .next = *head};
        *head = (uint8_t)++s->n_anchors;
        at += len + strspn(at + len, " ");
    }
    return OK;
}

/* PCRE2's own search for characters that a match must have goes over all of the text behind each anchor. */
#define RULE_OPTIONS (PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE)

static enum err add_rules(struct secrets *s, struct errmsg *msg)
{
    for (int32_t i = 0; i < secret_rules_n; i++) {
        const struct secret_rule *r = &secret_rules[i];
        uint32_t options = RULE_OPTIONS | (r->is_caseless ? PCRE2_CASELESS : 0);
        enum err err = compile(r->regex, strlen(r->regex), options, &s->rules[i], msg);
        if (!err) err = add_anchors(s, i, msg);
        if (err) return err;
    }
    return OK;
}

static enum err add_user_contents(struct secrets *s, const char *lines, struct errmsg *msg)
{
    for (const char *at = lines; *at;) {
        size_t len = strcspn(at, "\r\n");
        if (len > 0) {
            if (s->n_user == USER_MAX)
                return err_set(msg, ERR_ARG, "more than %d patterns of secrets", USER_MAX);
            enum err err = compile(at, len, 0, &s->user[s->n_user], msg);
            if (err) return err;
            s->n_user++;
        }
        at += len;
        at += strspn(at, "\r\n");
    }
    return OK;
}

static enum err add_user_names(struct secrets *s, const char *names)
{
    size_t len = strlen(names);
    s->names = mem_try(len + 1, 1);
    if (!s->names) return ERR_NOMEM;
    for (size_t i = 0; i < len; i++) s->names[i] = strchr(" \t\r\n", names[i]) ? '\0' : names[i];
    s->names_len = len;
    return OK;
}

enum err secrets_new(const struct secrets_options *o, struct secrets **out, struct errmsg *msg)
{
    struct secrets *s = MEM_NEW(struct secrets);
    enum err err;
    init_fold(s);
    s->limits = pcre2_match_context_create(NULL);
    if (!s->limits) {
        err = ERR_NOMEM;
        goto fail;
    }
    (void)pcre2_set_match_limit(s->limits, MATCH_STEPS);
    (void)pcre2_set_heap_limit(s->limits, HEAP_KIB);
    if ((err = add_rules(s, msg))) goto fail;
    if (o->contents && (err = add_user_contents(s, o->contents, msg))) goto fail;
    if (o->names && (err = add_user_names(s, o->names))) goto fail;
    *out = s;
    return OK;
fail:
    secrets_free(&s);
    return err;
}

void secrets_free(struct secrets **s)
{
    if (!*s) return;
    for (int32_t i = 0; i < secret_rules_n; i++) pcre2_code_free((*s)->rules[i]);
    for (int32_t i = 0; i < (*s)->n_user; i++) pcre2_code_free((*s)->user[i]);
    pcre2_match_context_free((*s)->limits);
    mem_free((*s)->names);
    mem_free(*s);
    *s = NULL;
}

/* --- Names of files ---------------------------------------------------------------------------------- */

bool secrets_is_file(const struct secrets *s, const char *path)
{
    for (size_t at = 0; at < s->names_len; at += strlen(s->names + at) + 1) {
        if (s->names[at] && secret_name_fits(path, s->names + at)) return true;
    }
    return secret_name_is_known(path);
}

/* --- Contents ---------------------------------------------------------------------------------------- */

struct span {
    size_t start, end;
};

/* One search, or several that go on where the last ended. */
struct search {
    const struct secrets *s;
    const char *text;
    size_t len;
    pcre2_match_data *data; /* made when first needed; null before */
};

static int match(struct search *f, const pcre2_code *code, size_t from, size_t to)
{
    if (!f->data) f->data = pcre2_match_data_create(3, NULL);
    if (!f->data) return PCRE2_ERROR_NOMEMORY;
    return pcre2_match(code, (PCRE2_SPTR)f->text, to, from, 0, f->data, f->s->limits);
}

/* The group if it took part in the match. */
static bool group(const struct search *f, int n_groups, int i, struct span *out)
{
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(f->data);
    if (i >= n_groups || at[2 * i] == PCRE2_UNSET || at[2 * i + 1] <= at[2 * i]) return false;
    *out = (struct span){at[2 * i], at[2 * i + 1]};
    return true;
}

static bool is_name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

static size_t name_end(const struct search *f, size_t at)
{
    while (at < f->len && is_name_byte(f->text[at])) at++;
    return at;
}

static bool is_assigned_secret(const struct search *f, size_t name, struct span value, bool is_quoted)
{
    const char *text = f->text + value.start;
    size_t n = value.end - value.start, name_len = name_end(f, name) - name;
    bool is_password = f->text[name] == 'p' || f->text[name] == 'P';
    if (!secret_value_is_named(f->text + name, name_len)) return false;
    if (secret_value_is_placeholder(text, n)) return false;
    if (is_password && secret_value_is_password(text, n)) return true;
    return secret_value_is_random(text, n) && (is_quoted || n >= 10);
}

/* Whether the match that `match` found is a secret by the rule's own standards. */
static bool judge(const struct search *f, const struct secret_rule *r, int n_groups, size_t at,
                  struct span *out)
{
    struct span whole, quote;
    if (r->check == SECRET_ASSIGNED) {
        return group(f, n_groups, 2, out) && is_assigned_secret(f, at, *out, group(f, n_groups, 1, &quote));
    }
    if (!group(f, n_groups, 0, &whole)) return false;
    if (!group(f, n_groups, 1, out)) *out = whole;
    const char *text = f->text + out->start;
    size_t n = out->end - out->start;
    if (r->check == SECRET_RANDOM) return secret_value_is_random(text, n);
    return r->check == SECRET_SHAPE || !secret_value_is_placeholder(text, n);
}

static bool is_anchor(const struct search *f, const struct anchor *a, size_t at)
{
    if (f->len - at < a->len) return false;
    return secret_rules[a->rule].is_caseless ? strncasecmp(f->text + at, a->text, a->len) == 0
                                             : memcmp(f->text + at, a->text, a->len) == 0;
}

static size_t line_end(const struct search *f, size_t at)
{
    const char *end = memchr(f->text + at, '\n', f->len - at);
    return end ? (size_t)(end - f->text) : f->len;
}

/* Try a rule where its anchor stands. What could not be decided within the limits costs its line. */
static bool try_rule(struct search *f, int32_t rule, size_t at, struct span *out)
{
    int n = match(f, f->s->rules[rule], at, f->len);
    if (n < PCRE2_ERROR_NOMATCH) {
        *out = (struct span){at, line_end(f, at)};
        return true;
    }
    return n > 0 && judge(f, &secret_rules[rule], n, at, out);
}

static bool find_at(struct search *f, size_t at, uint8_t first, struct span *out)
{
    for (uint8_t i = first; i; i = f->s->anchors[i - 1].next) {
        const struct anchor *a = &f->s->anchors[i - 1];
        if (is_anchor(f, a, at) && try_rule(f, a->rule, at, out)) return true;
    }
    return false;
}

/* The rule without an anchor has two dots instead, seven bytes apart, the second of which is at `at`. */
static bool find_dotted(struct search *f, size_t from, size_t at, struct span *out)
{
    size_t start = at - DOTS_APART;
    while (start > from && is_name_byte(f->text[start - 1]) && at - start < DOTTED_MAX) start--;
    return try_rule(f, f->s->dotted_rule, start, out);
}

static bool find_built_in(struct search *f, size_t from, struct span *out)
{
    const struct secrets *s = f->s;
    if (f->len < 3 || from > f->len - 3) return false;
    uint32_t code = code_at(s, f->text + from) >> CODE_BITS;
    for (size_t i = from + 2; i < f->len; i++) {
        char c = f->text[i];
        code = (code << CODE_BITS | s->fold[(unsigned char)c]) & (N_CODES - 1);
        if (s->table[code] && find_at(f, i - 2, s->table[code], out)) return true;
        bool is_dotted = c == '.' && i - from >= DOTS_APART && f->text[i - DOTS_APART] == '.';
        if (is_dotted && find_dotted(f, from, i, out)) return true;
    }
    return false;
}

/* The first match of a user's expression in from..to, which is a line or a piece of one. What could not be
 * decided within the limits is taken for a match. */
static bool find_in_piece(struct search *f, const pcre2_code *code, size_t from, size_t to, struct span *out)
{
    struct span whole;
    int n = match(f, code, from, to);
    if (n == PCRE2_ERROR_NOMATCH) return false;
    if (n < 0) {
        *out = (struct span){from, to};
        return from < to;
    }
    if (group(f, n, 1, out)) return true;
    if (!group(f, n, 0, &whole)) return false;
    *out = whole;
    return true;
}

/* The first match of any of the user's expressions that begins in from..to. */
static bool find_user(struct search *f, size_t from, size_t to, struct span *out)
{
    bool is_found = false;
    for (size_t at = from; at < to && !is_found;) {
        size_t end = line_end(f, at);
        if (end - at > PIECE_BYTES) end = at + PIECE_BYTES;
        for (int32_t i = 0; i < f->s->n_user; i++) {
            struct span found;
            if (!find_in_piece(f, f->s->user[i], at, end, &found)) continue;
            if (!is_found || found.start < out->start) *out = found;
            is_found = true;
        }
        at = end < f->len && f->text[end] == '\n' ? end + 1 : end;
    }
    return is_found && out->start < to;
}

static bool find(struct search *f, size_t from, struct span *out)
{
    struct span other;
    bool is_found = find_built_in(f, from, out);
    size_t to = is_found ? out->start : f->len;
    if (secret_block_find(f->text, f->len, from, to, &other.start, &other.end)) {
        *out = other;
        to = other.start;
        is_found = true;
    }
    if (f->s->n_user && find_user(f, from, to, &other)) {
        *out = other;
        is_found = true;
    }
    return is_found;
}

bool secrets_find(const struct secrets *s, const char *text, size_t len, size_t from, size_t *start,
                  size_t *end)
{
    struct search f = {.s = s, .text = text, .len = len};
    struct span found = {0};
    bool is_found = from < len && find(&f, from, &found);
    pcre2_match_data_free(f.data);
    *start = found.start;
    *end = found.end;
    return is_found;
}

enum err secrets_mask(const struct secrets *s, const char *text, size_t len, struct buf *out, int32_t *n)
{
    struct search f = {.s = s, .text = text, .len = len};
    struct span found;
    size_t at = 0;
    *n = 0;
    while (at < len && find(&f, at, &found)) {
        buf_add(out, text + at, found.start - at);
        buf_add_str(out, SECRETS_MASK);
        at = found.end;
        ++*n;
    }
    buf_add(out, text + at, len - at);
    pcre2_match_data_free(f.data);
    return out->err;
}
