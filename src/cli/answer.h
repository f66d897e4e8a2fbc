/* Looking things up in what the daemon answered, where what is missing counts as nothing; and writing them
 * for people. */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct json_value;

/* A member of an object: 0, "" or false if there is none of that kind. */
int64_t answer_int(const struct json_value *object, const char *key);
double answer_num(const struct json_value *object, const char *key);
const char *answer_text(const struct json_value *object, const char *key);
bool answer_flag(const struct json_value *object, const char *key);

/* "12 s", "3 min", "2 h 5 min", "4 d 2 h". */
void answer_add_time(struct buf *out, double seconds);
void answer_add_size(struct buf *out, int64_t bytes);

/* A name or a message from elsewhere, for a terminal: characters that could command it, or whose width is not
 * certainly one column (accents that combine, wide scripts, those that turn the direction of writing), are
 * replaced by '?'. Without is_utf8 so is all that is not ASCII. Returns the columns written, at most
 * max_columns. */
int32_t answer_add_safe(struct buf *out, const char *text, int32_t max_columns, bool is_utf8);

#endif
