/* See terminal.h. Control sequences are those of ECMA-48 and xterm that every terminal in use understands. */
#include "cli/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "os/clock.h"

/* Alternate screen, hidden cursor; and back, with plain characters. */
#define ENTER_SCREEN "\x1b[?1049h\x1b[?25l\x1b[2J"
#define LEAVE_SCREEN "\x1b[0m\x1b[?25h\x1b[?1049l"

#define ESCAPE_PATIENCE_MS 50 /* the bytes of one key come at once; Esc alone is followed by nothing */

static struct termios before;               /* layers: allow before, signal handlers reach nothing else */
static volatile sig_atomic_t is_open;       /* layers: allow is_open, likewise */
static volatile sig_atomic_t needs_drawing; /* layers: allow needs_drawing, likewise */

static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT};
#define N_ENDS (sizeof ends / sizeof *ends)

static bool write_all(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* Only what POSIX allows in signal handlers. */
static void restore(void)
{
    if (!is_open) return;
    is_open = 0;
    (void)write_all(LEAVE_SCREEN, sizeof LEAVE_SCREEN - 1);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void on_end(int number)
{
    restore();
    signal(number, SIG_DFL);
    raise(number); /* comes when the handler returns */
}

static void on_change(int number)
{
    (void)number;
    needs_drawing = 1;
}

static void set_handlers(void (*end)(int), void (*change)(int))
{
    struct sigaction action = {.sa_handler = end};
    for (size_t i = 0; i < N_ENDS; i++) sigaction(ends[i], &action, NULL);
    action.sa_handler = change;
    sigaction(SIGWINCH, &action, NULL);
    sigaction(SIGCONT, &action, NULL);
}

static bool enter(void)
{
    struct termios raw = before;
    raw.c_iflag &= ~(tcflag_t)IXON;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* stopped, the shell's prompt would be on our screen */
    return tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0 && write_all(ENTER_SCREEN, sizeof ENTER_SCREEN - 1);
}

bool terminal_is_there(void)
{
    const char *kind = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && kind && strcmp(kind, "dumb") != 0;
}

bool terminal_open(struct terminal *t)
{
    memset(t, 0, sizeof *t);
    if (tcgetattr(STDIN_FILENO, &before) != 0) return false;
    is_open = 1;
    set_handlers(on_end, on_change);
    if (enter()) return true;
    terminal_close(t);
    return false;
}

void terminal_close(struct terminal *t)
{
    (void)t;
    restore();
    set_handlers(SIG_DFL, SIG_DFL);
}

void terminal_size(int32_t *columns, int32_t *rows)
{
    struct winsize size = {0};
    *columns = 80;
    *rows = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return;
    *columns = size.ws_col;
    *rows = size.ws_row;
}

/* --- Keys ---------------------------------------------------------------------------------------------- */

static int take(struct terminal *t, size_t len, int key)
{
    t->n_pending -= len;
    memmove(t->pending, t->pending + len, t->n_pending);
    return key;
}

/* The key of a sequence "ESC [ ... FINAL" or "ESC O FINAL"; those that are not known are none. */
static int sequence_key(const unsigned char *s, size_t len)
{
    switch (s[len - 1]) {
    case 'A':
        return TERMINAL_UP;
    case 'B':
        return TERMINAL_DOWN;
    case '~':
        return s[2] == '5' ? TERMINAL_PAGE_UP : s[2] == '6' ? TERMINAL_PAGE_DOWN : TERMINAL_NONE;
    default:
        return TERMINAL_NONE;
    }
}

/* Bytes of the escape sequence at the front; 0: it is not whole; 1: the key Esc. */
static size_t sequence_len(const struct terminal *t)
{
    if (t->n_pending < 2) return 0;
    if (t->pending[1] != '[' && t->pending[1] != 'O') return 1;
    for (size_t i = 2; i < t->n_pending; i++) {
        if (t->pending[i] >= 0x40 && t->pending[i] <= 0x7e) return i + 1; /* ECMA-48's final bytes */
    }
    return t->n_pending == sizeof t->pending ? t->n_pending : 0;
}

/* The next key of what was typed; TERMINAL_NONE: there is none, or not all of it. */
static int pending_key(struct terminal *t, bool is_all)
{
    while (t->n_pending > 0) {
        int c = t->pending[0];
        if (c != 0x1b) return take(t, 1, c == '\r' || c == '\n' ? TERMINAL_ENTER : c);
        size_t len = sequence_len(t);
        if (len == 0 && !is_all) return TERMINAL_NONE;
        if (len <= 1) return take(t, 1, TERMINAL_ESCAPE);
        int key = sequence_key(t->pending, len);
        take(t, len, 0);
        if (key != TERMINAL_NONE) return key;
    }
    return TERMINAL_NONE;
}

/* TERMINAL_NONE: nothing was typed in time; 0: something was. */
static int wait_typed(struct terminal *t, int timeout_ms)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    int n = poll(&in, 1, timeout_ms);
    if (n < 0 && errno != EINTR) return TERMINAL_END;
    if (n <= 0) return TERMINAL_NONE;
    ssize_t got = read(STDIN_FILENO, t->pending + t->n_pending, sizeof t->pending - t->n_pending);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return TERMINAL_NONE;
    if (got <= 0) return TERMINAL_END;
    t->n_pending += (size_t)got;
    return 0;
}

int terminal_read(struct terminal *t, int timeout_ms)
{
    int64_t end_ns = clock_ns() + (int64_t)timeout_ms * 1000000;
    for (;;) {
        if (needs_drawing) {
            needs_drawing = 0;
            return enter() ? TERMINAL_RESIZED : TERMINAL_END;
        }
        int key = pending_key(t, false);
        if (key != TERMINAL_NONE) return key;
        bool is_partial = t->n_pending > 0;
        int64_t left_ms = (end_ns - clock_ns() + 999999) / 1000000;
        int typed = wait_typed(t, is_partial ? ESCAPE_PATIENCE_MS : left_ms > 0 ? (int)left_ms : 0);
        if (typed == TERMINAL_END) return TERMINAL_END;
        if (typed == TERMINAL_NONE && is_partial) return pending_key(t, true);
        if (typed == TERMINAL_NONE && !needs_drawing && clock_ns() >= end_ns) return TERMINAL_NONE;
    }
}

bool terminal_show(struct buf *drawing)
{
    bool is_shown = !drawing->err && write_all(drawing->data, drawing->len);
    buf_reset(drawing);
    return is_shown;
}
