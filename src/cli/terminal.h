/* The terminal as a screen that is drawn on and keys that are pressed: the alternate screen, no echo, no
 * waiting for the end of a line. It is given back as it was by terminal_close, and by every signal that ends
 * the process: those of the keyboard (Ctrl-C), SIGTERM, SIGHUP, SIGABRT. There is one terminal, so one may be
 * open at a time. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

struct buf;

/* What terminal_read gives: a byte, or one of these. */
enum terminal_key {
    TERMINAL_NONE = 256, /* the time is over */
    TERMINAL_RESIZED,    /* or continued after a stop: draw everything anew */
    TERMINAL_END,        /* nobody is there any more */
    TERMINAL_UP,
    TERMINAL_DOWN,
    TERMINAL_PAGE_UP,
    TERMINAL_PAGE_DOWN,
    TERMINAL_ESCAPE,
    TERMINAL_ENTER
};

struct terminal {
    unsigned char pending[64]; /* typed, not taken */
    size_t n_pending;
};

/* Standard input and output are terminals, and the latter understands more than lines of text. */
bool terminal_is_there(void);
bool terminal_open(struct terminal *t); /* false: it cannot be set */
void terminal_close(struct terminal *t);
/* 80 by 24 where it does not say. */
void terminal_size(int32_t *columns, int32_t *rows);
/* The next key within timeout_ms. */
int terminal_read(struct terminal *t, int timeout_ms);
/* What is drawn is shown, in one piece; clears the buffer's text. False: nobody is there any more. */
bool terminal_show(struct buf *drawing);

#endif
