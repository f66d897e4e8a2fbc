/* Patterns become a row of elements, and the row is run as a nondeterministic automaton whose states are
 * kept as a set (Thompson, CACM 1968), so that no pattern takes more than elements x bytes steps:
 * backtracking would take exponential time for a hostile "*a*a*a*b".
 *
 * The elements:
 *   a byte    itself
 *   ANY       "?": a byte other than '/'
 *   STAR      "*": any number of bytes other than '/'
 *   DEEP      "**" at an end: any bytes
 *   FOLDERS   "**" and the slash behind it: nothing, or anything that ends in '/'
 *   a class   "[...]": one of its bytes; never '/'
 *
 * Where gitignore(5) is silent, git 2.39 is followed. */
#include "context/ignore_glob.h"

#include <ctype.h>
#include <string.h>

struct compiler {
    const char *at, *end;
    bool is_literal; /* so far every element stands for itself */
    struct ignore_glob *out;
};

static bool emit(struct compiler *c, uint16_t element)
{
    if (c->out->n == IGNORE_GLOB_MAX) return false;
    c->out->elements[c->out->n++] = element;
    return true;
}

static void class_add(struct ignore_class *class, unsigned char from, unsigned char to)
{
    for (unsigned b = from; b <= to; b++) class->bits[b / 8] |= (uint8_t)(1u << b % 8);
}

/* "[:alpha:]" within a class, in the C locale whatever the program's is: bytes above 127 belong to none. */
static bool class_add_named(struct ignore_class *class, const char *name, size_t len)
{
    static const struct {
        const char *name;
        int (*has)(int c);
    } named[] = {{"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl},
                 {"digit", isdigit}, {"graph", isgraph}, {"lower", islower}, {"print", isprint},
                 {"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (strlen(named[i].name) != len || memcmp(named[i].name, name, len) != 0) continue;
        for (unsigned char b = 0; b < 128; b++) {
            if (named[i].has(b)) class_add(class, b, b);
        }
        return true;
    }
    return false;
}

/* A named class if `at` stands at one. False: malformed. */
static bool read_named(struct compiler *c, struct ignore_class *class, bool *is_named)
{
    *is_named = false;
    if (c->end - c->at < 2 || c->at[0] != '[' || c->at[1] != ':') return true;
    const char *name = c->at + 2;
    const char *close = memchr(name, ']', (size_t)(c->end - name));
    if (!close) return false;
    if (close == name || close[-1] != ':') return true; /* "[:" are two bytes like others */
    *is_named = true;
    c->at = close + 1;
    return class_add_named(class, name, (size_t)(close - 1 - name));
}

/* One byte of a class, escaped or not. False: the pattern ends. */
static bool read_member(struct compiler *c, unsigned char *out)
{
    if (c->at < c->end && *c->at == '\\') c->at++;
    if (c->at >= c->end) return false;
    *out = (unsigned char)*c->at++;
    return true;
}

/* From behind the "[" past the "]". A "]" that comes first is a member. */
static bool compile_class(struct compiler *c)
{
    if (c->out->n_classes == (int32_t)(sizeof c->out->classes / sizeof *c->out->classes)) return false;
    struct ignore_class *class = &c->out->classes[c->out->n_classes];
    *class = (struct ignore_class){0};
    bool is_negated = c->at < c->end && (*c->at == '!' || *c->at == '^');
    if (is_negated) c->at++;
    for (bool is_first = true; is_first || c->at >= c->end || *c->at != ']'; is_first = false) {
        if (c->at >= c->end) return false;
        bool is_named;
        if (!read_named(c, class, &is_named)) return false;
        if (is_named) continue;
        unsigned char from, to;
        if (!read_member(c, &from)) return false;
        to = from;
        if (c->end - c->at >= 2 && c->at[0] == '-' && c->at[1] != ']') {
            c->at++;
            if (!read_member(c, &to)) return false;
            class_add(class, from, from); /* also of a range that runs backwards */
        }
        class_add(class, from, to);
    }
    c->at++;
    for (size_t i = 0; is_negated && i < sizeof class->bits; i++) class->bits[i] ^= 0xff;
    class->bits['/' / 8] &= (uint8_t) ~(1u << '/' % 8);
    return emit(c, (uint16_t)(IGNORE_CLASS + c->out->n_classes++));
}

/* From behind the first "*". Two are special between slashes; git counts as such a beginning also the end of
 * what is literal, as in "a**" and "/b". */
static bool compile_stars(struct compiler *c)
{
    int32_t n = c->out->n;
    bool begins = c->is_literal || c->out->elements[n - 1] == '/';
    bool are_two = c->at < c->end && *c->at == '*';
    while (c->at < c->end && *c->at == '*') c->at++;
    if (!are_two || !begins) return emit(c, IGNORE_STAR);
    if (c->at == c->end) return emit(c, IGNORE_DEEP);
    if (*c->at == '/') {
        c->at++;
        return emit(c, IGNORE_FOLDERS);
    }
    return emit(c, c->end - c->at >= 2 && c->at[0] == '\\' && c->at[1] == '/' ? IGNORE_DEEP : IGNORE_STAR);
}

bool ignore_glob_compile(const char *pattern, size_t len, struct ignore_glob *out)
{
    struct compiler c = {.at = pattern, .end = pattern + len, .is_literal = true, .out = out};
    out->n = out->n_classes = 0;
    while (c.at < c.end) {
        char b = *c.at++;
        bool ok;
        if (b == '*') {
            ok = compile_stars(&c);
        } else if (b == '[') {
            ok = compile_class(&c);
        } else if (b == '?') {
            ok = emit(&c, IGNORE_ANY);
        } else if (b == '\\') {
            ok = c.at < c.end && emit(&c, (unsigned char)*c.at);
            c.at++;
        } else {
            ok = emit(&c, (unsigned char)b);
            if (ok) continue; /* the only one that leaves the pattern literal */
        }
        if (!ok) return false;
        c.is_literal = false;
    }
    return true;
}

static bool element_has(uint16_t element, const struct ignore_class *classes, unsigned char b)
{
    if (element < IGNORE_ANY) return element == b;
    if (element == IGNORE_ANY) return b != '/';
    return classes[element - IGNORE_CLASS].bits[b / 8] >> b % 8 & 1;
}

/* States are positions before an element; a byte has bit 0 while the state is in the set, and bit 1 when it
 * is inside of FOLDERS, which it can leave only behind a slash. */
enum { BEFORE = 1, INSIDE = 2 };

/* Add a state, and those that lie behind elements that may match nothing. */
static void enter(uint8_t *set, const uint16_t *elements, int32_t n, int32_t state)
{
    while (!(set[state] & BEFORE)) {
        set[state] |= BEFORE;
        if (state == n) return;
        if (elements[state] == IGNORE_FOLDERS) set[state] |= INSIDE;
        if (elements[state] < IGNORE_STAR || elements[state] > IGNORE_FOLDERS) return;
        state++;
    }
}

/* The states after one more byte. False: there are none. */
static bool step(const uint8_t *now, uint8_t *next, const uint16_t *elements, int32_t n,
                 const struct ignore_class *classes, unsigned char b)
{
    bool is_alive = false;
    memset(next, 0, (size_t)n + 1);
    for (int32_t i = 0; i < n; i++) {
        if (!now[i]) continue;
        uint16_t e = elements[i];
        if (e == IGNORE_FOLDERS) {
            next[i] |= INSIDE;
            if (b == '/') enter(next, elements, n, i + 1);
        } else if (e == IGNORE_DEEP || e == IGNORE_STAR) {
            if (e == IGNORE_STAR && b == '/') continue;
            enter(next, elements, n, i);
        } else if (element_has(e, classes, b)) {
            enter(next, elements, n, i + 1);
        } else {
            continue;
        }
        is_alive = true;
    }
    return is_alive;
}

bool ignore_glob_match(const uint16_t *elements, int32_t n, const struct ignore_class *classes,
                       const char *text, size_t len)
{
    /* Most patterns are names, or "*" and an ending: those need no automaton. */
    while (n > 0 && len > 0 && elements[0] < IGNORE_ANY) {
        if (elements[0] != (unsigned char)*text) return false;
        elements++, n--, text++, len--;
    }
    while (n > 0 && len > 0 && elements[n - 1] < IGNORE_ANY) {
        if (elements[n - 1] != (unsigned char)text[len - 1]) return false;
        n--, len--;
    }
    if (n == 0) return len == 0;
    if (n == 1 && elements[0] == IGNORE_STAR) return memchr(text, '/', len) == NULL;

    uint8_t sets[2][IGNORE_GLOB_MAX + 1];
    memset(sets[0], 0, (size_t)n + 1);
    enter(sets[0], elements, n, 0);
    for (size_t i = 0; i < len; i++) {
        if (!step(sets[i % 2], sets[(i + 1) % 2], elements, n, classes, (unsigned char)text[i])) return false;
    }
    return sets[len % 2][n] & BEFORE;
}
