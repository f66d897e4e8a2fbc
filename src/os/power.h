/* Where the machine's power comes from. */
#ifndef OS_POWER_H
#define OS_POWER_H

#include <stdbool.h>

struct power {
    bool is_on_battery; /* which is being used up; false where that cannot be told */
    double percent;     /* charge of its batteries, the mean; -1: there is none, or it does not tell */
};

/* root: where the system's files are; "": "/". Reads a few small files. Thread: any. */
void power_read(const char *root, struct power *out);
bool power_is_on_battery(void);

#endif
