/* The kernel's list of power supplies (Linux, Documentation/ABI/testing/sysfs-class-power). A machine whose
 * mains supply is online does not run on its battery, whatever that says of itself; batteries of mice and
 * pens have the scope "Device". */
#include "os/power.h"

#ifdef __linux__

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/file.h"

#define SUPPLIES "/sys/class/power_supply"

/* The first line of a supply's attribute; "" if it has none. */
static void read_attribute(const char *root, const char *supply, const char *name, char *out, size_t max)
{
    char path[512];
    out[0] = '\0';
    if (snprintf(path, sizeof path, "%s" SUPPLIES "/%s/%s", root, supply, name) >= (int)sizeof path) return;
    file_read_head(path, out, max);
    out[strcspn(out, "\n")] = '\0';
}

void power_read(const char *root, struct power *out)
{
    char path[512], type[32], value[32];
    bool has_mains = false, is_discharging = false;
    int n_batteries = 0;
    double sum = 0;
    *out = (struct power){.percent = -1};
    if (snprintf(path, sizeof path, "%s" SUPPLIES, root) >= (int)sizeof path) return;
    DIR *dir = opendir(path);
    if (!dir) return;
    for (const struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        read_attribute(root, e->d_name, "type", type, sizeof type);
        read_attribute(root, e->d_name, "scope", value, sizeof value);
        if (strcmp(value, "Device") == 0) continue;
        if (strcmp(type, "Battery") == 0) {
            read_attribute(root, e->d_name, "status", value, sizeof value);
            is_discharging = is_discharging || strcmp(value, "Discharging") == 0;
            read_attribute(root, e->d_name, "capacity", value, sizeof value);
            if (value[0] >= '0' && value[0] <= '9') sum += (double)strtol(value, NULL, 10), n_batteries++;
        } else {
            read_attribute(root, e->d_name, "online", value, sizeof value);
            has_mains = has_mains || strcmp(value, "1") == 0;
        }
    }
    closedir(dir);
    out->is_on_battery = is_discharging && !has_mains;
    if (n_batteries > 0) out->percent = sum / n_batteries;
}

#else

void power_read(const char *root, struct power *out)
{
    (void)root;
    *out = (struct power){.percent = -1};
}

#endif

bool power_is_on_battery(void)
{
    struct power now;
    power_read("", &now);
    return now.is_on_battery;
}
