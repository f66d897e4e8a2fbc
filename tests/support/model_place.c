/* See model_place.h. */
#include "support/model_place.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "os/file.h"

#define MODEL_MAX ((size_t)64 << 20)

int model_place_set_up(void **state)
{
    struct model_place *p = MEM_NEW(struct model_place);
    snprintf(p->root, sizeof p->root, "/tmp/inline-test-XXXXXX");
    if (!mkdtemp(p->root)) return -1;
    snprintf(p->model, sizeof p->model, "%s/model.gguf", p->root);
    snprintf(p->other, sizeof p->other, "%s/other.gguf", p->root);
    snprintf(p->packs, sizeof p->packs, "%s/packs", p->root);
    snprintf(p->kv, sizeof p->kv, "%s/kv", p->root);
    *state = p;
    return 0;
}

int model_place_tear_down(void **state)
{
    struct model_place *p = *state;
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", p->root);
    int failed = system(command);
    mem_free(p);
    return failed;
}

bool model_place_copy(const char *from, const char *to)
{
    struct buf bytes;
    struct errmsg msg;
    buf_init(&bytes, MODEL_MAX);
    enum err err = file_read(from, &bytes, &msg);
    struct file_part whole = {.bytes = bytes.data, .len = bytes.len};
    if (!err) err = file_write_parts(to, &whole, 1, &msg); /* does not wait for the disk */
    buf_clear(&bytes);
    if (err) fprintf(stderr, "%s\n", msg.text);
    return !err;
}
