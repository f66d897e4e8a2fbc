/* The graphics processors of the machine and their memory, through the system's Vulkan loader, and for
 * NVIDIA's cards NVML; both are opened at run time and may be missing.
 *
 * Drivers are large, slow to start and may crash: gpu_list asks in a child process, and gives up after some
 * seconds. Not for use while other threads run that matter (it forks); commands call it, the daemon does not.
 */
#ifndef OS_GPU_H
#define OS_GPU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum gpu_kind { GPU_DISCRETE, GPU_INTEGRATED, GPU_VIRTUAL, GPU_CPU /* a software driver */, GPU_OTHER };

struct gpu {
    char name[128], driver[64];
    enum gpu_kind kind;
    uint32_t vendor;      /* PCI id */
    int64_t memory_bytes; /* of its own heaps; of an integrated one, what it may take of the machine's */
    int64_t free_bytes;   /* VK_EXT_memory_budget: what this process may take now; else memory_bytes */
    int64_t nvml_total, nvml_free; /* 0: NVML does not know it, or is missing */
    bool has_f16, has_i8;          /* arithmetic in shaders */
    uint32_t api_version;          /* as Vulkan has it */
};

#define GPUS_MAX 16
/* Fills up to GPUS_MAX and returns how many there are. 0 and a message: why none is known ("no Vulkan loader
 * is installed", "the driver crashed"). */
int32_t gpu_list(struct gpu out[GPUS_MAX], struct errmsg *why);
const char *gpu_kind_name(enum gpu_kind kind); /* "discrete", ... */

#endif
