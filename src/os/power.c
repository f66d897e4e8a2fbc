/* The kernel's list of power supplies (Linux, Documentation/ABI/testing/sysfs-class-power). A machine whose
 * mains supply is online does not run on its battery, whatever that says of itself; batteries of mice and
 * pens have the scope "Device". */
#include "os/power.h"

#ifdef __linux__

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define SUPPLIES "/sys/class/power_supply"

/* The first line of a supply's attribute; "" if it has none. */
static void read_attribute(const char *supply, const char *name, char *out, size_t max)
{
    char path[512];
    out[0] = '\0';
    if (snprintf(path, sizeof path, SUPPLIES "/%s/%s", supply, name) >= (int)sizeof path) return;
    FILE *f = fopen(path, "re");
    if (!f) return;
    if (!fgets(out, (int)max, f)) out[0] = '\0';
    fclose(f);
    out[strcspn(out, "\n")] = '\0';
}

bool power_is_on_battery(void)
{
    DIR *dir = opendir(SUPPLIES);
    bool has_mains = false, is_discharging = false;
    if (!dir) return false;
    for (const struct dirent *e; (e = readdir(dir));) {
        char type[32], value[32];
        if (e->d_name[0] == '.') continue;
        read_attribute(e->d_name, "type", type, sizeof type);
        read_attribute(e->d_name, "scope", value, sizeof value);
        if (strcmp(value, "Device") == 0) continue;
        if (strcmp(type, "Battery") == 0) {
            read_attribute(e->d_name, "status", value, sizeof value);
            is_discharging = is_discharging || strcmp(value, "Discharging") == 0;
        } else {
            read_attribute(e->d_name, "online", value, sizeof value);
            has_mains = has_mains || strcmp(value, "1") == 0;
        }
    }
    closedir(dir);
    return is_discharging && !has_mains;
}

#else

bool power_is_on_battery(void)
{
    return false;
}

#endif
