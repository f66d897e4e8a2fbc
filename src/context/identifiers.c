/* Identifiers of texts, by one pass and a table of the kinds of bytes.
 *
 * A set is gathered in an open-addressing table and sorted at the end, so that two sets are compared by
 * merging them. Hashes are FNV-1a (Fowler, Noll, Vo 1991), folded to what 32 bits hold; that two names of one
 * comparison share one is rare and only makes two texts a little more alike. */
#include "context/identifiers.h"

#include <string.h>

#define NAME_MIN ((size_t)3) /* i, x, db, fn: too common to tell anything */

/* Words that most languages have, or that are all over the code of one: they say nothing about what a text is
 * about. Sorted; none is longer than KEYWORD_MAX. */
static const char *const keywords[] = {
    "False",     "NULL",       "None",     "Self",       "String",       "True",     "abstract",
    "and",       "any",        "args",     "assert",     "async",        "auto",     "await",
    "bool",      "boolean",    "break",    "case",       "catch",        "char",     "class",
    "const",     "continue",   "crate",    "def",        "default",      "defer",    "del",
    "delete",    "double",     "dyn",      "elif",       "else",         "elseif",   "end",
    "enum",      "err",        "except",   "export",     "extends",      "extern",   "false",
    "final",     "finally",    "float",    "for",        "foreach",      "from",     "func",
    "function",  "get",        "global",   "goto",       "has",          "impl",     "implements",
    "import",    "include",    "inline",   "instanceof", "int",          "int32_t",  "int64_t",
    "interface", "isinstance", "lambda",   "len",        "let",          "local",    "long",
    "loop",      "match",      "mod",      "mut",        "namespace",    "new",      "nil",
    "nonlocal",  "not",        "null",     "number",     "object",       "override", "package",
    "pass",      "print",      "private",  "protected",  "pub",          "public",   "raise",
    "range",     "readonly",   "ref",      "repeat",     "require",      "return",   "self",
    "set",       "short",      "signed",   "size_t",     "sizeof",       "static",   "str",
    "string",    "struct",     "super",    "switch",     "synchronized", "template", "the",
    "then",      "this",       "throw",    "throws",     "trait",        "true",     "try",
    "type",      "typedef",    "typename", "typeof",     "uint32_t",     "uint64_t", "uint8_t",
    "undefined", "union",      "unsafe",   "unsigned",   "until",        "use",      "using",
    "var",       "vec",        "virtual",  "void",       "volatile",     "where",    "while",
    "with",      "yield",
};
#define N_KEYWORDS  (sizeof keywords / sizeof *keywords)
#define KEYWORD_MAX ((size_t)12)

/* --- Names ------------------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits, letters, the underscore, and all that is not ASCII: one bit for each byte. */
static bool is_name_byte(char c)
{
    static const uint64_t bits[] = {0x03ff000000000000u, 0x07fffffe87fffffeu, UINT64_MAX, UINT64_MAX};
    unsigned char u = (unsigned char)c;
    return bits[u >> 6] >> (u & 63) & 1;
}

bool identifiers_next(const char *text, size_t len, size_t *at, const char **name, size_t *name_len)
{
    size_t i = *at;
    for (;;) {
        while (i < len && !is_name_byte(text[i])) i++;
        size_t start = i;
        while (i < len && is_name_byte(text[i])) i++;
        *at = i;
        if (i == start) return false;
        if (is_digit(text[start])) continue; /* a number, with what belongs to it: 0xff, 10ul */
        *name = text + start;
        *name_len = i - start;
        return true;
    }
}

static bool is_keyword(const char *name, size_t len)
{
    size_t low = 0, high = N_KEYWORDS;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = keywords[middle][0] - name[0]; /* which mostly decides, without a call */
        if (order == 0) order = strncmp(keywords[middle], name, len);
        if (order == 0 && keywords[middle][len] != '\0') order = 1;
        if (order == 0) return true;
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

bool identifiers_counts(const char *name, size_t len)
{
    return len >= NAME_MIN && (len > KEYWORD_MAX || !is_keyword(name, len));
}

uint32_t identifiers_hash(const char *name, size_t len)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < len; i++) h = (h ^ (unsigned char)name[i]) * 1099511628211u;
    uint32_t folded = (uint32_t)(h ^ h >> 32);
    return folded ? folded : 1; /* 0 marks free slots */
}

/* --- Sets -------------------------------------------------------------------------------------------- */

#define SLOTS ((size_t)2048) /* a power of two, nearly twice what a set and the keywords fill */

/* Shell's sort (1959) with Ciura's gaps (2001): a window has tens of names, for which this is quickest. */
static void sort(uint32_t *a, int32_t n)
{
    static const int32_t gaps[] = {301, 132, 57, 23, 10, 4, 1};
    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
        for (int32_t gap = gaps[g], i = gap; i < n; i++) {
            uint32_t moved = a[i];
            int32_t j = i;
            for (; j >= gap && a[j - gap] > moved; j -= gap) a[j] = a[j - gap];
            a[j] = moved;
        }
    }
}

/* Whether h is new to the table, where it then is. 0 marks a free slot. */
static bool insert(uint32_t *slots, uint32_t h)
{
    size_t i = h & (SLOTS - 1);
    while (slots[i] != 0 && slots[i] != h) i = (i + 1) & (SLOTS - 1);
    bool is_new = slots[i] == 0;
    slots[i] = h;
    return is_new;
}

void identifiers_of(const char *text, size_t len, struct identifiers *out)
{
    uint32_t slots[SLOTS] = {0}; /* of all names that were seen, keywords too: each is looked at once */
    size_t at = 0, name_len;
    const char *name;
    out->n = 0;
    while (out->n < IDENTIFIERS_MAX && identifiers_next(text, len, &at, &name, &name_len)) {
        if (name_len < NAME_MIN) continue;
        uint32_t h = identifiers_hash(name, name_len);
        if (insert(slots, h) && identifiers_counts(name, name_len)) out->hashes[out->n++] = h;
    }
    sort(out->hashes, out->n);
}

double identifiers_similarity(const struct identifiers *a, const struct identifiers *b)
{
    int32_t i = 0, j = 0, both = 0;
    while (i < a->n && j < b->n) {
        uint32_t x = a->hashes[i], y = b->hashes[j];
        both += x == y;
        i += x <= y;
        j += y <= x;
    }
    int32_t either = a->n + b->n - both;
    return either ? (double)both / either : 0;
}

bool identifiers_has(const struct identifiers *s, uint32_t hash)
{
    int32_t low = 0, high = s->n;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (s->hashes[middle] < hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < s->n && s->hashes[low] == hash;
}

/* ---- Parts of names */

#define PART_BYTES_MIN 3
#define PART_BYTES_MAX 32

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_letter(char c)
{
    return is_upper(c) || (c >= 'a' && c <= 'z') || (unsigned char)c >= 0x80;
}

/* Where the part that begins at `at` ends: at what is no letter, or before a capital that begins the next one
 * ("XMLFile" is "XML" and "File"). */
static size_t part_end(const char *name, size_t len, size_t at)
{
    size_t end = at + 1;
    while (end < len && is_letter(name[end])) {
        bool begins =
            is_upper(name[end]) && (!is_upper(name[end - 1]) ||
                                    (end + 1 < len && is_letter(name[end + 1]) && !is_upper(name[end + 1])));
        if (begins) break;
        end++;
    }
    return end;
}

bool identifiers_part(const char *name, size_t len, size_t *at, uint32_t *hash)
{
    char lower[PART_BYTES_MAX];
    while (*at < len) {
        if (!is_letter(name[*at])) {
            ++*at;
            continue;
        }
        size_t start = *at, end = part_end(name, len, start), n = end - start;
        *at = end;
        if (n < PART_BYTES_MIN || n > PART_BYTES_MAX) continue;
        for (size_t i = 0; i < n; i++)
            lower[i] = is_upper(name[start + i]) ? (char)(name[start + i] | 0x20) : name[start + i];
        *hash = identifiers_hash(lower, n);
        return true;
    }
    return false;
}
