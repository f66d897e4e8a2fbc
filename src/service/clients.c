/* Clients in one array, the least recently used replaced; when all together hold too much, it goes as well.
 */
#include "service/clients.h"

#include "base/mem.h"

#define CLIENTS_MAX   32 /* editors that work at the same time */
#define DOCUMENTS_OF  8  /* that one of them goes to and fro between */
#define CLIENTS_BYTES ((size_t)64 << 20)

struct entry {
    uint64_t client;
    struct documents *docs; /* null: free */
    uint64_t last_use;
};

struct clients {
    struct entry entries[CLIENTS_MAX];
    uint64_t n_uses;
};

struct clients *clients_new(void)
{
    return MEM_NEW(struct clients);
}

void clients_free(struct clients **c)
{
    if (!*c) return;
    for (int i = 0; i < CLIENTS_MAX; i++) documents_free(&(*c)->entries[i].docs);
    mem_free(*c);
    *c = NULL;
}

struct documents *clients_documents(struct clients *c, uint64_t client)
{
    struct entry *oldest = &c->entries[0];
    for (int i = 0; i < CLIENTS_MAX; i++) {
        struct entry *e = &c->entries[i];
        if (e->docs && e->client == client) {
            e->last_use = ++c->n_uses;
            return e->docs;
        }
        if (e->last_use < oldest->last_use) oldest = e;
    }
    documents_free(&oldest->docs);
    *oldest = (struct entry){.client = client, .docs = documents_new(), .last_use = ++c->n_uses};
    return oldest->docs;
}

static size_t total(const struct clients *c)
{
    size_t n_bytes = 0;
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (c->entries[i].docs) n_bytes += documents_bytes(c->entries[i].docs);
    }
    return n_bytes;
}

int64_t clients_bytes(const struct clients *c)
{
    return (int64_t)total(c);
}

/* Forget what was not used for longest, but for `keep`, until all fits. */
static void bound(struct clients *c, const struct documents *keep)
{
    while (total(c) > CLIENTS_BYTES) {
        struct entry *oldest = NULL;
        for (int i = 0; i < CLIENTS_MAX; i++) {
            struct entry *e = &c->entries[i];
            if (!e->docs || e->docs == keep) continue;
            if (!oldest || e->last_use < oldest->last_use) oldest = e;
        }
        if (!oldest) return;
        documents_free(&oldest->docs);
        *oldest = (struct entry){0};
    }
}

struct open_document *clients_document(struct clients *c, struct documents *docs, const char *path,
                                       const char *text, size_t len, size_t cursor)
{
    bound(c, docs);
    return documents_recognise(docs, path, text, len, cursor, DOCUMENTS_OF);
}
