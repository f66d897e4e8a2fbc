/* What went wrong with a transfer, in plain words. Pure. */
#ifndef REMOTE_TRANSFER_FAULT_H
#define REMOTE_TRANSFER_FAULT_H

#include "remote/transfer.h"

/* `os_errno` and `detail` are what libcurl adds to the code: CURLINFO_OS_ERRNO, CURLOPT_ERRORBUFFER ("" if
 * it says nothing). Returns the kind, and words that follow the host's name. */
enum transfer_fault transfer_fault_of(CURLcode code, int os_errno, const char *detail, struct errmsg *msg);

#endif
