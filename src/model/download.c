/* Downloads over HTTP(S): see download.h.
 *
 * A download is a loop of attempts; an attempt is a chain of requests that follows redirects, each checked
 * by our own rule (url_is_allowed). Headers of the whole chain are collected, since hubs name a file's hash
 * in the answer that redirects to the storage server. The body's first byte decides what an answer means:
 * continuation, restart, or error. Every byte is hashed on its way to the disk. */
#include "model/download.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/size.h"
#include "net/curl_api.h"
#include "os/file.h"

#define URL_LIMIT         65536 /* signed storage URLs run to several kilobytes */
#define HEADER_LIMIT      256   /* of a validator that is kept */
#define MAX_REDIRECTS     10
#define MAX_IDLE_ATTEMPTS 4 /* attempts in a row that brought no byte before we give up */
#define CONNECT_SECONDS   20L
#define STALL_SECONDS     30L /* a connection without data for so long is given up */
#define HASH_CHUNK        ((size_t)1 << 20)

/* What the answers to one attempt said. */
struct answer {
    char validator[HEADER_LIMIT]; /* ETag, else Last-Modified, of the file's own answer; "" if neither */
    char sha256[SHA256_HEX];      /* from x-linked-etag or ETag; "" if none is a hash */
    int64_t total;                /* size of the whole file; 0 unknown */
    int64_t range_start;          /* of a 206 answer; -1 if it has no usable Content-Range */
    int64_t content_length;       /* -1 unknown */
};

struct download {
    const struct download_request *request;
    struct curl_api curl;
    CURL *handle;
    char *part_path, *info_path; /* owned */
    int fd;                      /* of the .part file, locked; -1 before it is open */
    struct sha256 hash;          /* of the bytes in the .part file */
    struct download_progress progress;
    struct answer answer;
    bool body_started;  /* the answer's first body byte was judged */
    bool must_restart;  /* the answer continues another file than ours */
    enum err failure;   /* what made us abort a transfer ourselves */
    struct errmsg *msg; /* the caller's */
};

/* path followed by suffix; the caller frees. */
static char *with_suffix(const char *path, const char *suffix)
{
    struct buf longer;
    buf_init(&longer, URL_LIMIT);
    buf_printf(&longer, "%s%s", path, suffix);
    return buf_take(&longer);
}

static bool is_cancelled(const struct download *d)
{
    return d->request->cancel && atomic_load_explicit(d->request->cancel, memory_order_relaxed);
}

static enum err fail_io(struct download *d, const char *what)
{
    return err_set(d->msg, ERR_IO, "%s: cannot %s: %s", d->part_path, what, strerror(errno));
}

/* --- The .part and .part.info files ------------------------------------------------------------------ */

/* Three lines: URL, validator, size. False if the file is missing or says something else than this. */
static bool info_matches(const struct download *d, const char *validator, int64_t total)
{
    bool matches = false;
    struct buf have, want;
    buf_init(&have, URL_LIMIT);
    buf_init(&want, URL_LIMIT);
    buf_printf(&want, "%s\n%s\n%" PRId64 "\n", d->request->url, validator, total);
    if (file_read(d->info_path, &have, NULL) == OK) matches = strcmp(buf_str(&have), buf_str(&want)) == 0;
    buf_clear(&have);
    buf_clear(&want);
    return matches;
}

static enum err write_info(struct download *d)
{
    struct buf text;
    buf_init(&text, URL_LIMIT);
    buf_printf(&text, "%s\n%s\n%" PRId64 "\n", d->request->url, d->answer.validator, d->answer.total);
    enum err err = file_write(d->info_path, buf_str(&text), text.len, d->msg);
    buf_clear(&text);
    return err;
}

/* Begin the file anew. */
static enum err truncate_part(struct download *d)
{
    sha256_init(&d->hash);
    d->progress.done = d->progress.resumed = 0;
    if (ftruncate(d->fd, 0) != 0 || lseek(d->fd, 0, SEEK_SET) != 0) return fail_io(d, "write");
    return OK;
}

/* Open and lock the .part file and hash what an earlier run left in it. */
static enum err open_part(struct download *d)
{
    d->fd = open(d->part_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->fd < 0) return fail_io(d, "write");
    if (flock(d->fd, LOCK_EX | LOCK_NB) != 0) {
        close(d->fd);
        d->fd = -1; /* what the other one has is not ours to touch */
        return err_set(d->msg, ERR_IO, "%s: another download of this file is running", d->part_path);
    }
    sha256_init(&d->hash);
    /* Without a description of what they are, bytes cannot be continued. */
    if (file_size(d->info_path) < 0) return truncate_part(d);
    char *chunk = mem_try(HASH_CHUNK, 1);
    if (!chunk) return err_set(d->msg, ERR_NOMEM, "%s: %s", d->part_path, err_text(ERR_NOMEM));
    ssize_t n;
    while ((n = read(d->fd, chunk, HASH_CHUNK)) > 0 && !is_cancelled(d)) {
        sha256_add(&d->hash, chunk, (size_t)n);
        d->progress.done += n;
    }
    mem_free(chunk);
    d->progress.resumed = d->progress.done;
    return n < 0 ? fail_io(d, "read") : OK;
}

void download_forget(const char *path)
{
    static const char *const suffixes[] = {".part", ".part.info"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char *leftover = with_suffix(path, suffixes[i]);
        unlink(leftover);
        mem_free(leftover);
    }
}

/* --- URLs -------------------------------------------------------------------------------------------- */

static bool is_loopback(const char *host)
{
    struct in_addr address;
    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0) return true;
    return inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

/* https anywhere, http on this machine. Parsed by the library that will connect, so that the two cannot
 * disagree about which part is the host. *host (may be null) is for messages; the caller frees it. */
static enum err check_url(struct download *d, const char *text, char **host)
{
    enum err err = OK;
    char *scheme = NULL, *name = NULL;
    CURLU *url = d->curl.url();
    if (!url || d->curl.url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        d->curl.url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK) {
        err = err_set(d->msg, ERR_ARG, "%s: not a URL", text);
    } else if (d->curl.url_get(url, CURLUPART_HOST, &name, 0) != CURLUE_OK ||
               (strcmp(scheme, "https") != 0 && (strcmp(scheme, "http") != 0 || !is_loopback(name)))) {
        err = err_set(d->msg, ERR_ARG,
                      "%s: refused, since %s gives no protection against tampering; use an https URL", text,
                      scheme);
    }
    if (host && !err) *host = mem_dup_str(name);
    d->curl.free(scheme);
    d->curl.free(name);
    d->curl.url_cleanup(url);
    return err;
}

/* --- Headers ----------------------------------------------------------------------------------------- */

/* The value of a header line if it has this name: trimmed, at most HEADER_LIMIT - 1 bytes. */
static bool header_is(const char *line, size_t len, const char *name, char value[HEADER_LIMIT])
{
    size_t n = strlen(name);
    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0) return false;
    const char *start = line + n + 1, *end = line + len;
    while (start < end && isspace((unsigned char)*start)) start++;
    while (end > start && isspace((unsigned char)end[-1])) end--;
    size_t value_len = (size_t)(end - start) < HEADER_LIMIT ? (size_t)(end - start) : HEADER_LIMIT - 1;
    memcpy(value, start, value_len);
    value[value_len] = '\0';
    return true;
}

/* Hubs give a large file's SHA-256 as its ETag: 64 hexadecimal digits in quotes. */
static void take_hash(const char *etag, char sha256[SHA256_HEX])
{
    const char *hex = etag + (etag[0] == '"');
    size_t len = strspn(hex, "0123456789abcdefABCDEF");
    if (len != SHA256_HEX - 1 || (hex[len] != '\0' && hex[len] != '"')) return;
    for (size_t i = 0; i < len; i++) sha256[i] = (char)tolower((unsigned char)hex[i]);
    sha256[len] = '\0';
}

static size_t on_header(char *line, size_t size, size_t n, void *user)
{
    struct download *d = user;
    struct answer *a = &d->answer;
    size_t len = size * n;
    char value[HEADER_LIMIT];
    if (len > 5 && strncmp(line, "HTTP/", 5) == 0) {
        /* The next answer begins (also after "100 Continue"): what describes a body is void, the hash stays.
         */
        a->validator[0] = '\0';
        a->content_length = a->range_start = -1;
        a->total = 0;
    } else if (header_is(line, len, "x-linked-etag", value)) {
        take_hash(value, a->sha256);
    } else if (header_is(line, len, "etag", value)) {
        snprintf(a->validator, sizeof a->validator, "%s", value);
        if (!a->sha256[0]) take_hash(value, a->sha256);
    } else if (header_is(line, len, "last-modified", value)) {
        if (!a->validator[0]) snprintf(a->validator, sizeof a->validator, "%s", value);
    } else if (header_is(line, len, "content-length", value)) {
        a->content_length = strtoll(value, NULL, 10);
    } else if (header_is(line, len, "content-range", value)) {
        int64_t first, last, total;
        if (sscanf(value, "bytes %" SCNd64 "-%" SCNd64 "/%" SCNd64, &first, &last, &total) == 3) {
            a->range_start = first;
            a->total = total;
        }
    }
    return len;
}

/* --- One transfer ------------------------------------------------------------------------------------ */

static long status_of(struct download *d)
{
    long status = 0;
    d->curl.easy_getinfo(d->handle, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static enum err check_space(struct download *d)
{
    int64_t free_bytes = file_free_space(d->part_path);
    int64_t missing = d->answer.total - d->progress.done;
    if (d->answer.total == 0 || free_bytes < 0 || missing <= free_bytes) return OK;
    char need[SIZE_TEXT_MAX], have[SIZE_TEXT_MAX];
    const char *slash = strrchr(d->request->path, '/');
    return err_set(d->msg, ERR_IO,
                   "needs %s, %s free in %.*s; make room or choose another directory (models.dir)",
                   size_text(missing, need), size_text(free_bytes, have),
                   (int)(slash ? slash - d->request->path : 1), slash ? d->request->path : ".");
}

/* The first bytes of a body: decide whether they continue the .part file or begin it. */
static enum err begin_body(struct download *d)
{
    enum err err = OK;
    struct answer *a = &d->answer;
    if (status_of(d) == 206) {
        /* Without a validator, nothing tells a changed file of the same size. */
        bool continues = a->range_start == d->progress.done && a->validator[0] != '\0' &&
                         info_matches(d, a->validator, a->total);
        if (!continues) {
            d->must_restart = true;
            return ERR_FORMAT;
        }
    } else {
        a->total = a->content_length > 0 ? a->content_length : 0;
        if (d->progress.done > 0) err = truncate_part(d);
    }
    d->progress.total = a->total;
    if (!err && d->request->bytes > 0 && a->total > 0 && a->total != d->request->bytes) {
        err = err_set(d->msg, ERR_FORMAT,
                      "the server's file has %" PRId64 " bytes, not the expected %" PRId64
                      "; it is another file",
                      a->total, d->request->bytes);
    }
    if (!err) err = check_space(d);
    if (!err) err = write_info(d);
    return err;
}

static enum err write_body(struct download *d, const char *bytes, size_t len)
{
    sha256_add(&d->hash, bytes, len);
    while (len > 0) {
        ssize_t n = write(d->fd, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_io(d, "write");
        bytes += n;
        len -= (size_t)n;
        d->progress.done += n;
    }
    return OK;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
    struct download *d = user;
    long status = status_of(d);
    if (status != 200 && status != 206) return size * n; /* an error page or a redirect's text */
    if (is_cancelled(d)) {
        d->failure = ERR_CANCELLED;
    } else if (!d->body_started) {
        d->body_started = true;
        d->failure = begin_body(d);
    }
    if (!d->failure) d->failure = write_body(d, bytes, size * n);
    if (d->failure) return 0; /* ends the transfer with CURLE_WRITE_ERROR */
    if (d->request->on_progress) d->request->on_progress(d->request->ctx, &d->progress);
    return size * n;
}

/* Called about once a second also when nothing arrives. */
static int on_tick(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t e)
{
    struct download *d = user;
    (void)a, (void)b, (void)c, (void)e;
    if (is_cancelled(d)) d->failure = ERR_CANCELLED;
    return d->failure != OK;
}

static enum err set_up_handle(struct download *d)
{
    CURL *h = d->handle = d->curl.easy_init();
    if (!h) return err_set(d->msg, ERR_NOMEM, "cannot start a transfer: %s", err_text(ERR_NOMEM));
    d->curl.easy_setopt(h, CURLOPT_USERAGENT, "inline/" INLINE_VERSION);
    d->curl.easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    d->curl.easy_setopt(h, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    d->curl.easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    d->curl.easy_setopt(h, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
    d->curl.easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    d->curl.easy_setopt(h, CURLOPT_HEADERDATA, d);
    d->curl.easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    d->curl.easy_setopt(h, CURLOPT_WRITEDATA, d);
    d->curl.easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_tick);
    d->curl.easy_setopt(h, CURLOPT_XFERINFODATA, d);
    d->curl.easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    return OK;
}

static enum err http_error(struct download *d, long status, const char *url)
{
    const char *advice = status == 401 || status == 403
                             ? "it needs a login or a licence to be accepted; download it with "
                               "a browser and run: inline model import FILE"
                         : status == 404 || status == 410 ? "there is no such file; check the name"
                         : status == 429                  ? "too many requests; try again later"
                                                          : "try again later";
    /* Server trouble may pass (ERR_NETWORK is tried again), the rest will not. */
    return err_set(d->msg, status >= 500 ? ERR_NETWORK : ERR_NOT_FOUND, "%s: the server answered %ld: %s",
                   url, status, advice);
}

static enum err transfer_error(struct download *d, CURLcode code, const char *host)
{
    if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT ||
        code == CURLE_COULDNT_RESOLVE_PROXY) {
        return err_set(
            d->msg, ERR_NETWORK,
            "cannot reach %s: %s; check the network, or download the file elsewhere and run: inline model "
            "import FILE",
            host, d->curl.easy_strerror(code));
    }
    return err_set(d->msg, ERR_NETWORK, "the download from %s broke off: %s; the same command resumes it",
                   host, d->curl.easy_strerror(code));
}

/* One request. OK with *next set: redirected there; OK with *next null: the body is complete. */
static enum err perform(struct download *d, const char *url, char **next)
{
    char *host = NULL;
    enum err err = check_url(d, url, &host);
    if (err) return err;
    d->body_started = false;
    d->curl.easy_setopt(d->handle, CURLOPT_URL, url);
    /* CURLOPT_RANGE rather than CURLOPT_RESUME_FROM, which takes an answer with the whole file for an error.
     */
    char range[32];
    snprintf(range, sizeof range, "%" PRId64 "-", d->progress.done);
    d->curl.easy_setopt(d->handle, CURLOPT_RANGE, d->progress.done > 0 ? range : NULL);
    CURLcode code = d->curl.easy_perform(d->handle);
    long status = status_of(d);
    char *location = NULL;
    d->curl.easy_getinfo(d->handle, CURLINFO_REDIRECT_URL, &location);
    if (d->failure) {
        err = d->failure;
    } else if (status == 416 && d->progress.done > 0) {
        /* Nothing after our last byte: another file now, or we were interrupted after the last byte. The
         * hash will tell in the second case; restarting is right in both. */
        d->must_restart = true;
        err = ERR_FORMAT;
    } else if (status >= 300 && status < 400 && location) {
        *next = mem_dup_str(location);
    } else if (status >= 400) {
        err = http_error(d, status, url);
    } else if (code != CURLE_OK) {
        err = transfer_error(d, code, host);
    } else if (status != 200 && status != 206) {
        err = err_set(d->msg, ERR_NETWORK, "%s: unexpected answer %ld", url, status);
    } else if (!d->body_started) {
        err = err_set(d->msg, ERR_FORMAT, "%s: the server's file is empty", url);
    } else if (d->progress.total > 0 && d->progress.done != d->progress.total) {
        err =
            err_set(d->msg, ERR_NETWORK, "the download from %s broke off; the same command resumes it", host);
    }
    mem_free(host);
    return err;
}

/* One attempt: the request and what it redirects to. */
static enum err attempt(struct download *d)
{
    enum err err = OK;
    char *url = mem_dup_str(d->request->url);
    d->answer = (struct answer){.content_length = -1, .range_start = -1};
    d->failure = OK;
    d->must_restart = false;
    for (int hop = 0; url && !err; hop++) {
        char *next = NULL;
        err = perform(d, url, &next);
        if (!err && next && hop >= MAX_REDIRECTS) {
            err = err_set(d->msg, ERR_NETWORK, "%s: redirected more than %d times", d->request->url,
                          MAX_REDIRECTS);
        }
        mem_free(url);
        url = next;
    }
    mem_free(url);
    return err;
}

/* Attempts until one completes, none makes progress, or trying again is pointless. */
static enum err transfer(struct download *d)
{
    bool has_restarted = false;
    for (int idle = 0;;) {
        int64_t before = d->progress.done;
        enum err err = is_cancelled(d) ? ERR_CANCELLED : attempt(d);
        if (err == ERR_CANCELLED)
            return err_set(d->msg, err, "interrupted; the same command resumes the download");
        if (d->must_restart && !has_restarted) {
            has_restarted = true;
            err = truncate_part(d);
            if (err) return err;
            continue;
        }
        if (d->must_restart) {
            return err_set(d->msg, ERR_NETWORK,
                           "%s: the server's answers to a resumed download contradict each other",
                           d->request->url);
        }
        if (err != ERR_NETWORK) return err;
        idle = d->progress.done > before ? 0 : idle + 1;
        if (idle >= MAX_IDLE_ATTEMPTS) return err;
        /* 0.2 s, 0.4 s, 0.8 s: enough for a hiccup; a person can start again after a longer one. */
        struct timespec pause = {.tv_nsec = 100000000L << (idle > 0 ? idle : 1)};
        nanosleep(&pause, NULL);
    }
}

/* The complete .part file: right hash, accepted, renamed. */
static enum err finish(struct download *d, struct download_result *result)
{
    const char *wanted = d->request->sha256 ? d->request->sha256 : d->answer.sha256;
    sha256_finish(&d->hash, result->sha256);
    result->progress = d->progress;
    result->is_verified = wanted[0] != '\0';
    if (result->is_verified && strcasecmp(wanted, result->sha256) != 0) {
        download_forget(d->request->path);
        return err_set(d->msg, ERR_FORMAT,
                       "the file's SHA-256 is %.16s..., not %.16s... as expected: it was damaged on "
                       "the way or is another file; nothing was installed",
                       result->sha256, wanted);
    }
    enum err err = d->request->accept ? d->request->accept(d->request->ctx, d->part_path, d->msg) : OK;
    if (err) {
        download_forget(d->request->path);
        return err;
    }
    err = file_rename(d->part_path, d->request->path, d->msg);
    if (!err) unlink(d->info_path);
    return err;
}

enum err download_run(const struct download_request *request, struct download_result *result,
                      struct errmsg *msg)
{
    struct download d = {.request = request, .fd = -1, .msg = msg};
    *result = (struct download_result){0};
    struct errmsg why = {0};
    enum err err = curl_api_load(&d.curl, &why);
    if (err) {
        return err_set(msg, err, "%s; or download the file elsewhere and run: inline model import FILE",
                       why.text);
    }
    d.part_path = with_suffix(request->path, ".part");
    d.info_path = with_suffix(request->path, ".part.info");
    err = check_url(&d, request->url, NULL);
    if (!err) err = set_up_handle(&d);
    if (!err) err = open_part(&d);
    if (!err) err = transfer(&d);
    if (!err) err = finish(&d, result);
    result->progress = d.progress;
    /* An attempt that brought nothing leaves nothing. */
    if (err && d.fd >= 0 && file_size(d.part_path) == 0) download_forget(request->path);
    if (d.handle) d.curl.easy_cleanup(d.handle);
    if (d.fd >= 0) close(d.fd);
    mem_free(d.part_path);
    mem_free(d.info_path);
    return err;
}
