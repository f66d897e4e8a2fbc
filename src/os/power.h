/* Where the machine's power comes from. */
#ifndef OS_POWER_H
#define OS_POWER_H

#include <stdbool.h>

/* Whether it runs on a battery that is being used up; false where that cannot be told. Reads a few small
 * files. Thread: any. */
bool power_is_on_battery(void);

#endif
