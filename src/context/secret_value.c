/* Telling secrets from words.
 *
 * Names, versions and sentences are made of words: letters with at most a number behind them. A generated
 * secret switches between letters, digits and cases all the time; one or two such switches, and an entropy
 * (Shannon 1948, over the value's own bytes) as eight different characters have, are asked for. */
#include "context/secret_value.h"

#include <ctype.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#define ENTROPY_MIN 2.9          /* bits per byte; eight bytes that all differ have 3 */
#define LEFT_MIN    ((size_t)6)  /* letters and digits besides the words of a placeholder */
#define DIGITS_MAX  ((size_t)4)  /* behind a word: a year, a version */
#define LETTERS_MIN ((size_t)16) /* shorter names change case as often as chance does: LogicalOrEq */

static double entropy(const char *value, size_t len)
{
    int counts[256] = {0};
    double bits = 0;
    for (size_t i = 0; i < len; i++) counts[(unsigned char)value[i]]++;
    for (int i = 0; i < 256; i++) {
        double p = (double)counts[i] / (double)len;
        if (counts[i]) bits -= p * log2(p);
    }
    return bits;
}

static bool is_alnum(char c)
{
    return isalnum((unsigned char)c) != 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t count_case_changes(const char *piece, size_t len)
{
    size_t n = 0;
    for (size_t i = 1; i < len; i++) {
        n += !isupper((unsigned char)piece[i]) != !isupper((unsigned char)piece[i - 1]);
    }
    return n;
}

/* A piece without separators: a word or name with at most a short number behind it, a number with at most a
 * unit behind it. */
static bool is_word(const char *piece, size_t len)
{
    size_t i = 0, letters = 0, digits = 0;
    if (is_digit(piece[0])) {
        while (i < len && is_digit(piece[i])) i++;
        return len - i <= 2;
    }
    while (i < len && !is_digit(piece[i])) i++, letters++;
    while (i < len && is_digit(piece[i])) i++, digits++;
    if (i < len || digits > DIGITS_MAX) return false;
    return letters < LETTERS_MIN || count_case_changes(piece, letters) * 3 <= letters;
}

bool secret_value_is_random(const char *value, size_t len)
{
    bool is_words = true;
    for (size_t i = 0; i < len && is_words;) {
        size_t start = i;
        while (i < len && is_alnum(value[i])) i++;
        if (i > start) is_words = is_word(value + start, i - start);
        if (i < len) i++;
    }
    return !is_words && entropy(value, len) >= ENTROPY_MIN;
}

/* Case-insensitively; the length of the first of the words that the text begins with, or 0. */
static size_t word_at(const char *text, size_t len, const char *const *words)
{
    for (; *words; words++) {
        size_t n = strlen(*words);
        if (n <= len && strncasecmp(text, *words, n) == 0) return n;
    }
    return 0;
}

bool secret_value_is_placeholder(const char *value, size_t len)
{
    static const char *const words[] = {
        "password", "passwd", "secret", "token",   "example", "sample",      "changeme", "change", "default",
        "your",     "some",   "dummy",  "fake",    "test",    "placeholder", "api",      "key",    "user",
        "admin",    "here",   "todo",   "foo",     "bar",     "baz",         "xxx",      "hello",  "world",
        "abc",      "123",    "456",    "789",     "qwerty",  "redacted",    "access",   "client", "my",
        "value",    "string", "insert", "replace", NULL};
    static const char *const signs[] = {"${", "{{",  "#{",   "%(",      "$(",     "<%",  "%s",
                                        "%d", "...", "***",  "(?",      "\\d",    "\\w", "[a-",
                                        ".*", "://", "env.", "environ", "getenv", NULL};
    size_t n_left = 0;
    if (len == 0 || value[0] == '$' || value[0] == '<' || value[0] == '{' || value[0] == '%') return true;
    for (size_t i = 0; i < len; i++) {
        if (word_at(value + i, len - i, signs)) return true;
    }
    for (size_t i = 0; i < len;) {
        size_t n = word_at(value + i, len - i, words);
        if (n == 0) n_left += is_alnum(value[i]);
        i += n ? n : 1;
    }
    return n_left < LEFT_MIN;
}

bool secret_value_is_password(const char *value, size_t len)
{
    bool lower = false, upper = false, digit = false, special = false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];
        lower |= islower(c) != 0;
        upper |= isupper(c) != 0;
        digit |= isdigit(c) != 0;
        special |= c < 0x80 && c != '\0' && strchr("!@#$%^&*?~+=", c) != NULL;
    }
    return len >= 8 && special && lower + upper + digit >= 2 && digit;
}

bool secret_value_is_named(const char *name, size_t len)
{
    static const char *const ends[] = {
        "file",    "path",    "url",    "uri",      "name",    "type",   "length",  "len",
        "size",    "count",   "field",  "header",   "prefix",  "regex",  "pattern", "hint",
        "label",   "text",    "policy", "endpoint", "alg",     "format", "ttl",     "expiry",
        "version", "class",   "kind",   "title",    "message", "error",  "dir",     "suffix",
        "message", "charset", "color",  "colour",   "ref",     "arn",    "index",   NULL};
    for (size_t i = 0; i + 6 <= len; i++) {
        if (strncasecmp(name + i, "tokeni", 6) == 0) return false; /* tokenize, tokenizer, tokenise */
    }
    for (int i = 0; ends[i]; i++) {
        size_t n = strlen(ends[i]);
        if (n <= len && strncasecmp(name + len - n, ends[i], n) == 0) return false;
    }
    return true;
}
