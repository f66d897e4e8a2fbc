/* Error codes and one-line error messages.
 *
 * Fallible functions return enum err and put results into out-parameters. Set-up and I/O paths also
 * take a struct errmsg, which the function that sees the fault fills once, with the offending value
 * and what to do. Hot paths return codes only. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* Code and the text used where no better message exists. */
#define ERR_LIST(X)                                                                                          \
    X(OK, "ok")                                                                                              \
    X(ERR_NOMEM, "not enough memory")                                                                        \
    X(ERR_IO, "input/output error")                                                                          \
    X(ERR_NOT_FOUND, "not found")                                                                            \
    X(ERR_FORMAT, "malformed data")                                                                          \
    X(ERR_UNSUPPORTED, "not supported")                                                                      \
    X(ERR_ARG, "bad argument")                                                                               \
    X(ERR_LIMIT, "a limit was exceeded")                                                                     \
    X(ERR_CANCELLED, "cancelled")                                                                            \
    X(ERR_NETWORK, "network error")                                                                          \
    X(ERR_DENIED, "access was denied")

enum err {
#define X(code, text) code,
    ERR_LIST(X)
#undef X
};

#define ERRMSG_MAX 512

struct errmsg {
    char text[ERRMSG_MAX]; /* one line, no trailing newline; "" while nothing failed */
};

/* Fill msg (may be null) and return code, so that callers can write `return err_set(...)`. Control
 * characters and bytes that are not UTF-8 in the formatted text (they may come from a file) are
 * replaced, so that the message is always one printable line. */
enum err err_set(struct errmsg *msg, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The default text of a code; never null. */
const char *err_text(enum err code);

#endif
