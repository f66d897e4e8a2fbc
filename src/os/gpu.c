/* See gpu.h. The drivers are loaded and asked in a child process, which writes one struct of plain data into
 * a pipe: whatever a driver does to that process (it crashes, hangs, prints, exits) ends as a message here.
 */
#include "os/gpu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/clock.h"
#include "os/gpu_probe.h"

/* A first start of several drivers, from a cold disk, takes up to two seconds. */
#define PATIENCE_MS 5000

const char *gpu_kind_name(enum gpu_kind kind)
{
    static const char *const NAMES[] = {[GPU_DISCRETE] = "discrete",
                                        [GPU_INTEGRATED] = "integrated",
                                        [GPU_VIRTUAL] = "virtual",
                                        [GPU_CPU] = "software",
                                        [GPU_OTHER] = "other"};
    return NAMES[kind];
}

/* --- The child ------------------------------------------------------------------------------------------ */

/* Drivers print warnings, and a crashing one would leave a core file of gigabytes. The alarm ends a child
 * whose parent was killed before it could. */
static void keep_quiet(int32_t patience_ms)
{
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
    }
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    alarm((unsigned)patience_ms / 1000 + 2);
}

static _Noreturn void ask(int to, int32_t patience_ms)
{
    struct gpu_findings *f = MEM_NEW(struct gpu_findings);
    keep_quiet(patience_ms);
    gpu_probe_vulkan(f);
    gpu_probe_nvml(f);
    /* It fits into the pipe (64 KB), so that one call writes all of it. */
    ssize_t n = write(to, f, sizeof *f);
    _exit(n == (ssize_t)sizeof *f ? 0 : 1);
}

/* --- The parent ----------------------------------------------------------------------------------------- */

/* Returns whether all of it came before the deadline. */
static bool read_findings(int from, int64_t deadline_ns, struct gpu_findings *f, bool *is_late)
{
    size_t len = 0;
    while (len < sizeof *f) {
        int64_t left_ms = (deadline_ns - clock_ns()) / 1000000;
        struct pollfd p = {.fd = from, .events = POLLIN};
        int ready = left_ms > 0 ? poll(&p, 1, (int)left_ms) : 0;
        if (ready < 0 && errno == EINTR) continue;
        *is_late = ready == 0;
        if (ready <= 0) return false;
        ssize_t n = read(from, (char *)f + len, sizeof *f - len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        len += (size_t)n;
    }
    return true;
}

/* Why a child that is gone has told nothing. */
static void explain(int status, bool is_late, struct errmsg *why)
{
    if (is_late)
        err_set(why, ERR_IO, "the graphics driver did not answer in time");
    else if (WIFSIGNALED(status))
        err_set(why, ERR_IO, "the graphics driver crashed (%s)", strsignal(WTERMSIG(status)));
    else
        err_set(why, ERR_IO, "the graphics driver ended the process that asked it (exit status %d)",
                WEXITSTATUS(status));
}

/* What a broken driver left in there is not trusted. */
static void make_sound(struct gpu_findings *f)
{
    if (f->n < 0 || f->n > GPUS_MAX) f->n = 0;
    f->why[sizeof f->why - 1] = 0;
    for (int32_t i = 0; i < f->n; i++) {
        struct gpu *g = &f->list[i].gpu;
        g->name[sizeof g->name - 1] = 0;
        g->driver[sizeof g->driver - 1] = 0;
        if ((unsigned)g->kind > GPU_OTHER) g->kind = GPU_OTHER;
    }
}

static bool is_same_card(const struct gpu_found *a, const struct gpu_found *b)
{
    static const uint8_t UNKNOWN[16];
    if (memcmp(a->uuid, UNKNOWN, sizeof UNKNOWN) != 0 && memcmp(a->uuid, b->uuid, sizeof a->uuid) == 0)
        return true;
    return a->pci.is_known && b->pci.is_known && a->pci.domain == b->pci.domain && a->pci.bus == b->pci.bus &&
           a->pci.device == b->pci.device;
}

/* Two drivers (Mesa's and the vendor's) offer the same card: the loader's first choice stays. */
static int32_t take_distinct(const struct gpu_findings *f, struct gpu out[GPUS_MAX])
{
    int32_t n = 0;
    for (int32_t i = 0; i < f->n; i++) {
        int32_t other = 0;
        while (other < i && !is_same_card(&f->list[i], &f->list[other])) other++;
        if (other == i) out[n++] = f->list[i].gpu;
    }
    return n;
}

int32_t gpu_list_within(int32_t patience_ms, struct gpu out[GPUS_MAX], struct errmsg *why)
{
    int ends[2];
    if (pipe(ends)) {
        err_set(why, ERR_IO, "cannot ask the graphics drivers: %s", strerror(errno));
        return 0;
    }
    pid_t child = fork();
    if (child < 0) {
        err_set(why, ERR_NOMEM, "cannot ask the graphics drivers: %s", strerror(errno));
        close(ends[0]);
        close(ends[1]);
        return 0;
    }
    if (child == 0) {
        close(ends[0]);
        ask(ends[1], patience_ms);
    }
    close(ends[1]);
    struct gpu_findings *f = MEM_NEW(struct gpu_findings);
    bool is_late = false;
    bool has_answer = read_findings(ends[0], clock_ns() + (int64_t)patience_ms * 1000000, f, &is_late);
    int status = 0;
    close(ends[0]);
    if (has_answer || is_late) kill(child, SIGKILL); /* drivers' clean-up may hang as well */
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;

    int32_t n = 0;
    if (has_answer) {
        make_sound(f);
        n = take_distinct(f, out);
        if (n == 0) err_set(why, ERR_NOT_FOUND, "%s", f->why);
    } else {
        explain(status, is_late, why);
    }
    mem_free(f);
    return n;
}

int32_t gpu_list(struct gpu out[GPUS_MAX], struct errmsg *why)
{
    return gpu_list_within(PATIENCE_MS, out, why);
}
