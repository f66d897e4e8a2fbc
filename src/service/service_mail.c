/* The mail box of the loop: engine threads and loaders put in, the loop takes all at once. */
#include "service/service_impl.h"

#include <string.h>

#include "base/mem.h"

void service_mail_open(struct service_box *b, void (*wake)(void *ctx), void *ctx)
{
    pthread_mutex_init(&b->lock, NULL);
    b->last = &b->first;
    b->wake = wake;
    b->ctx = ctx;
}

void service_mail_close(struct service_box *b)
{
    for (struct service_mail *mail = service_mail_take(b), *next; mail; mail = next) {
        next = mail->next;
        mem_free(mail);
    }
    pthread_mutex_destroy(&b->lock);
}

bool service_mail_post(struct service_box *b, enum service_mail_kind kind, struct service_job *job,
                       struct service_loaded *model, const char *text, size_t len)
{
    struct service_mail *mail = len > 0 ? mem_try(1, sizeof *mail + len) : mem_new(sizeof *mail);
    if (!mail) return false;
    *mail = (struct service_mail){.kind = kind, .job = job, .model = model, .len = len};
    if (len > 0) memcpy(mail->text, text, len);
    pthread_mutex_lock(&b->lock);
    bool was_empty = !b->first;
    *b->last = mail;
    b->last = &mail->next;
    pthread_mutex_unlock(&b->lock);
    if (was_empty && b->wake) b->wake(b->ctx);
    return true;
}

struct service_mail *service_mail_take(struct service_box *b)
{
    pthread_mutex_lock(&b->lock);
    struct service_mail *mail = b->first;
    b->first = NULL;
    b->last = &b->first;
    pthread_mutex_unlock(&b->lock);
    return mail;
}
