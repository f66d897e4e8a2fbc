/* How far a long command has come. */
#include "cli/meter.h"

#include <stdio.h>
#include <unistd.h>

#include "base/size.h"
#include "os/clock.h"

#define REDRAW_NS      100000000  /* ten times a second is smooth and costs nothing */
#define PLAIN_STEP     10         /* percent between lines where there is no terminal */
#define RATE_WINDOW_NS 3000000000 /* the rate shown is that of about the last three seconds */

void meter_init(struct meter *m, const char *name)
{
    *m = (struct meter){.name = name, .is_terminal = isatty(STDERR_FILENO), .last_step = -1};
}

/* "0:42", "1:02:03". */
static void duration_text(double seconds, char out[16])
{
    int64_t s = seconds < 359999 ? (int64_t)(seconds + 0.5) : 359999;
    if (s >= 3600) {
        snprintf(out, 16, "%d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    } else {
        snprintf(out, 16, "%d:%02d", (int)(s / 60), (int)(s % 60));
    }
}

/* Fraction done, 0..100; -1 while the size is not known. */
static int percent_of(int64_t done, int64_t total)
{
    return total > 0 ? (int)(done * 100 / total) : -1;
}

static void draw_bar(const struct meter *m, int64_t done, int64_t total)
{
    char done_text[SIZE_TEXT_MAX], total_text[SIZE_TEXT_MAX], rate[SIZE_TEXT_MAX];
    char left[16] = "-:--", bar[21] = "";
    int percent = percent_of(done, total);
    for (int i = 0; i < 20; i++) bar[i] = i * 5 < percent ? '#' : '.';
    if (m->rate > 0 && total > 0) duration_text((double)(total - done) / m->rate, left);
    fprintf(stderr, "\r%s [%s] %3d%%  %s of %s  %s/s  ETA %s \033[K", m->name, bar, percent < 0 ? 0 : percent,
            size_text(done, done_text), total > 0 ? size_text(total, total_text) : "?",
            size_text((int64_t)m->rate, rate), left);
}

static void print_step(struct meter *m, int64_t done, int64_t total, const char *note)
{
    char done_text[SIZE_TEXT_MAX], total_text[SIZE_TEXT_MAX];
    int percent = percent_of(done, total);
    if (percent / PLAIN_STEP == m->last_step) return;
    m->last_step = percent / PLAIN_STEP;
    fprintf(stderr, "%s: %s of %s%s\n", m->name, size_text(done, done_text),
            total > 0 ? size_text(total, total_text) : "?", note);
}

/* Slide the window by half, so that the figure neither jumps nor remembers for ever. */
static void measure_rate(struct meter *m, int64_t done, int64_t now)
{
    if (!m->window_ns || done < m->window_done) {
        m->window_ns = now;
        m->window_done = done;
    } else if (now > m->window_ns) {
        m->rate = (double)(done - m->window_done) * 1e9 / (double)(now - m->window_ns);
        if (now - m->window_ns > RATE_WINDOW_NS) {
            m->window_done += (done - m->window_done) / 2;
            m->window_ns += (now - m->window_ns) / 2;
        }
    }
}

void meter_update(struct meter *m, int64_t done, int64_t total, const char *note)
{
    int64_t now = clock_ns();
    if (!m->is_terminal) {
        print_step(m, done, total, note);
        return;
    }
    bool is_last = total > 0 && done == total;
    if (m->drawn_ns && now - m->drawn_ns < REDRAW_NS && !is_last) return;
    measure_rate(m, done, now);
    m->drawn_ns = now;
    draw_bar(m, done, total);
}

void meter_end(struct meter *m)
{
    if (m->drawn_ns) fputc('\n', stderr);
}
