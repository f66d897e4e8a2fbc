/* Which server is asked, and when a second one is asked too.
 *
 * Least expected wait: outstanding requests + 1, times what its first token took of late; a document goes
 * back to the server that read it last (its prefix cache) unless another one is clearly sooner. Hedging (Dean
 * and Barroso, The Tail at Scale, CACM 2013): a request without its first token after the observed p95 is
 * asked of a second server too, for at most one request in twenty.
 *
 * Pure. Thread: the pool's. */
#ifndef REMOTE_BALANCE_H
#define REMOTE_BALANCE_H

#include "remote/server.h"

#define BALANCE_DOCUMENTS   256
#define BALANCE_SERVERS_MAX 32 /* bits of balance_ask.tried */

struct balance {
    struct {
        uint64_t document; /* 0: free */
        int32_t server;
        int64_t last_ns;
    } documents[BALANCE_DOCUMENTS];
    double hedges; /* that may be made: grows by 0.05 with each request, up to a small store */
    int64_t n_asked, n_hedged;
};

enum {
    BALANCE_WAIT = -1, /* for a connection to be free: of one that is open, or NEW and asked by another */
    BALANCE_NONE = -2  /* none is open that was not tried */
};

struct balance_ask {
    uint64_t document;               /* 0: none */
    uint32_t tried;                  /* bits of servers that are not asked again */
    const int32_t *free_connections; /* [n]: how many requests each can be given now */
    int64_t now_ns;
};

void balance_init(struct balance *b);
/* The server's index, BALANCE_WAIT or BALANCE_NONE. Changes nothing but what is remembered of documents.
 * Servers about which little is known, or that were slow when they were last asked, are asked now and then:
 * rarely enough not to be felt. */
int32_t balance_pick(struct balance *b, const struct server *servers, int32_t n, const struct balance_ask *a);
/* A request is asked for the first time. */
void balance_count(struct balance *b);
/* How long its first token is waited for before a second server is asked: ms; 0: it is not (one server,
 * too little is known). */
double balance_hedge_ms(const struct balance *b, const struct server *servers, int32_t n, int32_t asked);
/* May a hedge be made now? Takes it from the budget, of which a part is kept for requests that have waited
 * twice as long or more. Where it may not, it is asked again each time the wait has doubled. */
bool balance_take_hedge(struct balance *b, bool is_very_late);

#endif
