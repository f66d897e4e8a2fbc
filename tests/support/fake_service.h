/* A service (service/service.h) without models, for tests of what stands in front of it: requests wait until
 * the test answers them. Linked before the real one, it takes its place. */
#ifndef TESTS_SUPPORT_FAKE_SERVICE_H
#define TESTS_SUPPORT_FAKE_SERVICE_H

#include "service/service.h"

#define FAKE_SERVICE_WAITING_MAX 1024

struct service_ticket {
    struct service *service;
    struct service_request request; /* with strings of its own */
};

struct service {
    struct service_ticket *waiting[FAKE_SERVICE_WAITING_MAX]; /* oldest first */
    int n_waiting;
    int n_submitted, n_cancelled; /* so far */
    enum service_state state;     /* of the only model, "toy" */
    const char *error;            /* of that model; borrowed */
    int64_t n_unread;             /* of its 500 bytes of weights */
    int n_notes;                  /* and the last of them */
    enum service_event event;
    int64_t n_chars;
    uint64_t noted_id;
    uint64_t next_id;      /* of what is answered next; 0: none */
    int n_kept, n_changed; /* suggestions, so far */
    int n_projects;        /* held */
    int n_rescans;         /* so far */
    int n_opened;          /* documents, so far */
    char project[4096];    /* the last one that was held or rescanned */
};

struct service *fake_service_new(void);
void fake_service_free(struct service **s);

/* Answer a waiting request: with a candidate, null for none, if OK; else with a message. */
void fake_service_answer(struct service *s, int i, enum service_outcome outcome, const char *text);
/* With several candidates. */
void fake_service_answer_many(struct service *s, int i, const char *const *texts, int n);

#endif
