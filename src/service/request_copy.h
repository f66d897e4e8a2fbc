/* A request that outlives the call it came with, because its model is still being loaded: everything that it
 * points to is copied but for open documents, which their owner keeps until the request is answered or
 * cancelled. */
#ifndef SERVICE_REQUEST_COPY_H
#define SERVICE_REQUEST_COPY_H

#include "service/service.h"

/* One piece of memory, to be freed with mem_free; null: there is not enough. */
struct service_request *request_copy(const struct service_request *r);

#endif
