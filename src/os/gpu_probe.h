/* What asks for graphics processors inside of gpu.c's child process: one source per interface. */
#ifndef OS_GPU_PROBE_H
#define OS_GPU_PROBE_H

#include "os/gpu.h"

struct gpu_pci { /* where a card sits; the same card has the same place in every interface */
    bool is_known;
    uint32_t domain, bus, device;
};

struct gpu_found {
    struct gpu gpu;
    struct gpu_pci pci;
    uint8_t uuid[16]; /* Vulkan's deviceUUID; all zero: not known */
};

/* Plain data: it crosses from the child to the parent as bytes. */
struct gpu_findings {
    int32_t n;
    struct gpu_found list[GPUS_MAX];
    char why[160]; /* that there are none */
};

/* Append Vulkan's devices; where there are none, why. */
void gpu_probe_vulkan(struct gpu_findings *f);
/* Give NVIDIA's cards among those found what NVML says of their memory, and append those that Vulkan did not
 * find. Nothing happens where there is no NVML. */
void gpu_probe_nvml(struct gpu_findings *f);

/* gpu_list with another patience than the usual. */
int32_t gpu_list_within(int32_t patience_ms, struct gpu out[GPUS_MAX], struct errmsg *why);

#endif
