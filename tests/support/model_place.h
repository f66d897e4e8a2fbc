/* A temporary directory for each test that damages models or writes packs: cmocka's set-up and tear-down,
 * with a struct model_place as the state. */
#ifndef TESTS_SUPPORT_MODEL_PLACE_H
#define TESTS_SUPPORT_MODEL_PLACE_H

#include <stdbool.h>

struct model_place { /* paths; only root is there */
    char root[32], model[64], other[64], packs[64], kv[64];
};

int model_place_set_up(void **state);
int model_place_tear_down(void **state); /* deletes all of it */

/* Make `to` a file of its own with the bytes of `from`; false if that cannot be done. */
bool model_place_copy(const char *from, const char *to);

#endif
