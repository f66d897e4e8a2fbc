/* Byte counts for people. */
#include "base/size.h"

#include <stdio.h>

const char *size_text(int64_t bytes, char out[SIZE_TEXT_MAX])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    int unit = 0;
    /* 999.5 would be printed as "1000 MB": go to the next unit before that. */
    for (; value >= 999.5; unit++) value /= 1000;
    if (bytes < 0) {
        snprintf(out, SIZE_TEXT_MAX, "?");
    } else {
        snprintf(out, SIZE_TEXT_MAX, "%.*f %s", unit > 0 && value < 9.95 ? 1 : 0, value, units[unit]);
    }
    return out;
}
