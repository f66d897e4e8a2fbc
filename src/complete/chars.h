/* Kinds of characters, and white space around text: what the rules of places and of stopping look at.
 * Lines end in '\n'; bytes of characters outside ASCII count as letters. */
#ifndef COMPLETE_CHARS_H
#define COMPLETE_CHARS_H

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool chars_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static inline bool chars_is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* 1 for brackets that open, -1 for those that close, 0 for all else. */
static inline int32_t chars_bracket(char c)
{
    if (c == '(' || c == '[' || c == '{') return 1;
    return c == ')' || c == ']' || c == '}' ? -1 : 0;
}

/* Length without the white space at the end. */
static inline size_t chars_trimmed_len(const char *text, size_t len)
{
    while (len > 0 && chars_is_blank(text[len - 1])) len--;
    return len;
}

/* Length of the white space at the start. */
static inline size_t chars_blank_len(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && chars_is_blank(text[n])) n++;
    return n;
}

/* Tab stops where files mix tabs and spaces, as in old C; all others are indifferent to it. */
#define CHARS_TAB 8

/* The column behind a blank. */
static inline size_t chars_blank_column(size_t column, char blank)
{
    return blank == '\t' ? (column / CHARS_TAB + 1) * CHARS_TAB : column + 1;
}

/* The column of the first character that is not blank. */
static inline size_t chars_indent(const char *text, size_t len)
{
    size_t column = 0;
    for (size_t i = 0; i < len && chars_is_blank(text[i]); i++) column = chars_blank_column(column, text[i]);
    return column;
}

/* Length of the first line, without its end. */
static inline size_t chars_line_len(const char *text, size_t len)
{
    const char *newline = len > 0 ? memchr(text, '\n', len) : NULL;
    return newline ? (size_t)(newline - text) : len;
}

/* Length of the word that the text ends with; 0: it ends with none. */
static inline size_t chars_last_word_len(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && chars_is_word(text[len - n - 1])) n++;
    return n;
}

/* Whether a word is one of a list of words with spaces between them. */
static inline bool chars_is_listed(const char *list, const char *word, size_t len)
{
    if (len == 0) return false;
    while (*list) {
        size_t n = strcspn(list, " ");
        if (n == len && memcmp(list, word, len) == 0) return true;
        list += n + (list[n] == ' ');
    }
    return false;
}

/* Whether one of the list begins with it. */
static inline bool chars_begins_listed(const char *list, const char *word, size_t len)
{
    while (*list) {
        size_t n = strcspn(list, " ");
        if (n >= len && memcmp(list, word, len) == 0) return true;
        list += n + (list[n] == ' ');
    }
    return false;
}

#endif
