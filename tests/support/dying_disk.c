/* A file system of one file. See dying_disk.h, and linux/fuse.h for the messages. */
#include "support/dying_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_NODE 2 /* the root is 1 */

struct server {
    int fd;
    const char *bytes;
    size_t len;
    const atomic_bool *is_dead;
};

static void reply(const struct server *s, const struct fuse_in_header *in, int failure, const void *data,
                  size_t len)
{
    struct fuse_out_header out = {
        .len = (uint32_t)(sizeof out + (failure ? 0 : len)), .error = -failure, .unique = in->unique};
    struct iovec parts[2] = {{&out, sizeof out}, {(void *)(uintptr_t)data, failure ? 0 : len}};
    if (writev(s->fd, parts, 2) < 0 && errno != ENOENT) _exit(0); /* ENOENT: interrupted; else unmounted */
}

static struct fuse_attr attr_of(const struct server *s, uint64_t node)
{
    bool is_file = node == FILE_NODE;
    return (struct fuse_attr){.ino = node,
                              .size = is_file ? s->len : 0,
                              .mode = is_file ? S_IFREG | 0444 : S_IFDIR | 0555,
                              .nlink = 1,
                              .mtime = 1000000000,
                              .ctime = 1000000000,
                              .blksize = 4096};
}

static void serve_read(const struct server *s, const struct fuse_in_header *in)
{
    const struct fuse_read_in *r = (const void *)(in + 1);
    size_t left = r->offset < s->len ? s->len - (size_t)r->offset : 0;
    reply(s, in, atomic_load(s->is_dead) ? EIO : 0, s->bytes + r->offset, left < r->size ? left : r->size);
}

static void serve_one(const struct server *s, const struct fuse_in_header *in)
{
    const uint64_t for_long = 3600; /* seconds that names and attributes may be kept */
    struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION,
                                 .minor = FUSE_KERNEL_MINOR_VERSION,
                                 .max_readahead = 4096,
                                 .max_write = 4096};
    struct fuse_entry_out entry = {
        .nodeid = FILE_NODE, .entry_valid = for_long, .attr_valid = for_long, .attr = attr_of(s, FILE_NODE)};
    struct fuse_attr_out attr = {.attr_valid = for_long, .attr = attr_of(s, in->nodeid)};
    struct fuse_open_out opened = {0};
    switch (in->opcode) {
    case FUSE_INIT:
        reply(s, in, 0, &init, sizeof init);
        break;
    case FUSE_LOOKUP:
        reply(s, in, strcmp((const char *)(in + 1), "file") ? ENOENT : 0, &entry, sizeof entry);
        break;
    case FUSE_GETATTR:
        reply(s, in, 0, &attr, sizeof attr);
        break;
    case FUSE_OPEN:
        reply(s, in, 0, &opened, sizeof opened);
        break;
    case FUSE_READ:
        serve_read(s, in);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break; /* want no answer */
    case FUSE_RELEASE:
    case FUSE_FLUSH:
        reply(s, in, 0, NULL, 0);
        break;
    default:
        reply(s, in, ENOSYS, NULL, 0);
    }
}

static void serve(const struct server *s)
{
    static _Alignas(8) char message[FUSE_MIN_READ_BUFFER + 4096];
    for (;;) {
        ssize_t n = read(s->fd, message, sizeof message);
        if (n >= (ssize_t)sizeof(struct fuse_in_header)) serve_one(s, (const void *)message);
        if (n < 0 && errno != EINTR && errno != ENOENT) _exit(0);
    }
}

bool dying_disk_mount(struct dying_disk *d, const void *bytes, size_t len)
{
    char options[96];
    *d = (struct dying_disk){.server = -1};
    snprintf(d->dir, sizeof d->dir, "/tmp/inline-test-disk-XXXXXX");
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0 || !mkdtemp(d->dir)) goto fail;
    snprintf(d->path, sizeof d->path, "%s/file", d->dir);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fd, getuid(), getgid());
    if (mount("inline-test", d->dir, "fuse", MS_NOSUID | MS_NODEV | MS_RDONLY, options) != 0) {
        rmdir(d->dir);
        goto fail;
    }
    d->is_dead = mmap(NULL, sizeof *d->is_dead, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    atomic_init(d->is_dead, false);
    d->server = fork();
    if (d->server == 0) serve(&(struct server){.fd = fd, .bytes = bytes, .len = len, .is_dead = d->is_dead});
    close(fd);
    if (d->server > 0) return true;
    dying_disk_unmount(d);
    return false;
fail:
    if (fd >= 0) close(fd);
    return false;
}

void dying_disk_kill(struct dying_disk *d)
{
    atomic_store(d->is_dead, true);
}

void dying_disk_unmount(struct dying_disk *d)
{
    umount2(d->dir, MNT_DETACH);
    if (d->server > 0) {
        kill(d->server, SIGKILL);
        waitpid(d->server, NULL, 0);
    }
    munmap(d->is_dead, sizeof *d->is_dead);
    rmdir(d->dir);
}
