/* A file system of one file that, from some moment on, cannot be read any more: what a failing disk looks
 * like from above. By the protocol of Linux's FUSE, spoken directly; needs /dev/fuse and the right to mount.
 */
#ifndef SUPPORT_DYING_DISK_H
#define SUPPORT_DYING_DISK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct dying_disk {
    char dir[64];         /* where it is mounted */
    char path[72];        /* of the file */
    atomic_bool *is_dead; /* shared with the server */
    pid_t server;
};

/* False: not allowed here. The file holds a copy of bytes. Call it while there are no other threads. */
bool dying_disk_mount(struct dying_disk *d, const void *bytes, size_t len);
/* From now on what is not in the page cache cannot be read: EIO. */
void dying_disk_kill(struct dying_disk *d);
void dying_disk_unmount(struct dying_disk *d);

#endif
