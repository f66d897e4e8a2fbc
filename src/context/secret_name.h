/* Files that hold secrets, told by their names. Thread: any. */
#ifndef CONTEXT_SECRET_NAME_H
#define CONTEXT_SECRET_NAME_H

#include <stdbool.h>

/* Shell patterns (fnmatch(3)); case does not count, and either slash will do. One with a slash is for the end
 * of a path, others are for its last part. */
bool secret_name_fits(const char *path, const char *pattern);

/* .env, id_rsa, *.pem, .aws/credentials, ..., but not .env.example. */
bool secret_name_is_known(const char *path);

#endif
