/* Byte counts for people. */
#include "base/size.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool size_parse(const char *text, int64_t *bytes)
{
    static const char units[] = "KMGTPE";
    char *end;
    if (!isdigit((unsigned char)*text)) return false; /* strtod takes signs, blanks and names too */
    double value = strtod(text, &end);
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    for (const char *u = units; unit && u <= unit; u++) value *= 1000;
    end += unit != NULL;
    if (*end == 'B' || *end == 'b') end++;
    if (*end || !(value < 9.2e18)) return false;
    *bytes = (int64_t)value;
    return true;
}
