/* libnvidia-ml.so.1 of a machine with two cards, for test_gpu: both are unknown to Vulkan. */
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct memory {
    unsigned long long total, free, used;
};
struct pci {
    char legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char id[32];
};

int nvmlInit_v2(void);
int nvmlDeviceGetCount_v2(unsigned *n);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out);
int nvmlDeviceGetName(void *d, char *out, unsigned size);
int nvmlDeviceGetMemoryInfo(void *d, struct memory *out);
int nvmlDeviceGetPciInfo_v3(void *d, struct pci *out);

static int cards[2];

EXPORT int nvmlInit_v2(void)
{
    return 0;
}

EXPORT int nvmlDeviceGetCount_v2(unsigned *n)
{
    *n = 3; /* the third has fallen off its bus: asking for it fails */
    return 0;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out)
{
    *out = index < 2 ? &cards[index] : NULL;
    return index < 2 ? 0 : 15; /* NVML_ERROR_GPU_IS_LOST */
}

EXPORT int nvmlDeviceGetName(void *d, char *out, unsigned size)
{
    snprintf(out, size, "Fake card %d", d == &cards[1]);
    return 0;
}

EXPORT int nvmlDeviceGetMemoryInfo(void *d, struct memory *out)
{
    (void)d;
    *out = (struct memory){24000000000ull, 20000000000ull, 4000000000ull};
    return 0;
}

EXPORT int nvmlDeviceGetPciInfo_v3(void *d, struct pci *out)
{
    memset(out, 0, sizeof *out);
    out->bus = d == &cards[1] ? 2 : 1;
    return 0;
}
