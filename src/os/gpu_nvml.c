/* NVIDIA's management library, which knows the memory that other processes leave of a card. Its ABI is
 * stable; the few declarations that are used stand here (NVML API Reference), so that its header is not
 * needed. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "os/gpu_probe.h"

#define NVIDIA_VENDOR 0x10de
#define NVML_SUCCESS  0

struct nvml_device;

struct nvml_memory { /* nvmlMemory_t */
    unsigned long long total, free, used;
};

struct nvml_pci { /* nvmlPciInfo_t of nvmlDeviceGetPciInfo_v3 */
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct nvml {
    int (*init)(void);
    int (*count)(unsigned *n);
    int (*device)(unsigned index, struct nvml_device **out);
    int (*name)(struct nvml_device *d, char *out, unsigned size);
    int (*memory)(struct nvml_device *d, struct nvml_memory *out);
    int (*pci)(struct nvml_device *d, struct nvml_pci *out);
};

static bool load(struct nvml *n)
{
    const struct {
        const char *name;
        void *function; /* where it is kept */
    } functions[] = {{"nvmlInit_v2", &n->init},
                     {"nvmlDeviceGetCount_v2", &n->count},
                     {"nvmlDeviceGetHandleByIndex_v2", &n->device},
                     {"nvmlDeviceGetName", &n->name},
                     {"nvmlDeviceGetMemoryInfo", &n->memory},
                     {"nvmlDeviceGetPciInfo_v3", &n->pci}};
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return false;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *symbol = dlsym(library, functions[i].name);
        if (!symbol) return false;
        memcpy(functions[i].function, &symbol, sizeof symbol);
    }
    return true;
}

/* Vulkan's entry of the card; one that does not tell its place is recognised by its name, if no other has it.
 */
static struct gpu_found *find(struct gpu_findings *f, const struct nvml_pci *pci, const char *name)
{
    struct gpu_found *by_name = NULL;
    int32_t n_named = 0;
    for (int32_t i = 0; i < f->n; i++) {
        struct gpu_found *g = &f->list[i];
        if (g->gpu.vendor != NVIDIA_VENDOR) continue;
        if (g->pci.is_known) {
            if (g->pci.domain == pci->domain && g->pci.bus == pci->bus && g->pci.device == pci->device)
                return g;
        } else if (strcmp(g->gpu.name, name) == 0) {
            by_name = g;
            n_named++;
        }
    }
    return n_named == 1 ? by_name : NULL;
}

static struct gpu_found *append(struct gpu_findings *f, const struct nvml_pci *pci, const char *name,
                                const struct nvml_memory *memory)
{
    if (f->n == GPUS_MAX) return NULL;
    struct gpu_found *g = &f->list[f->n++];
    *g = (struct gpu_found){.gpu = {.kind = GPU_DISCRETE,
                                    .vendor = NVIDIA_VENDOR,
                                    .memory_bytes = (int64_t)memory->total,
                                    .free_bytes = (int64_t)memory->free},
                            .pci = {true, pci->domain, pci->bus, pci->device}};
    snprintf(g->gpu.name, sizeof g->gpu.name, "%s", name);
    snprintf(g->gpu.driver, sizeof g->gpu.driver, "NVML, not seen by Vulkan");
    return g;
}

void gpu_probe_nvml(struct gpu_findings *f)
{
    struct nvml n = {0};
    unsigned count = 0;
    if (!load(&n) || n.init() != NVML_SUCCESS || n.count(&count) != NVML_SUCCESS) return;
    for (unsigned i = 0; i < count; i++) {
        struct nvml_device *d = NULL;
        struct nvml_memory memory = {0};
        struct nvml_pci pci = {0};
        char name[96] = "";
        if (n.device(i, &d) != NVML_SUCCESS || n.memory(d, &memory) != NVML_SUCCESS ||
            n.pci(d, &pci) != NVML_SUCCESS || n.name(d, name, sizeof name) != NVML_SUCCESS)
            continue;
        struct gpu_found *g = find(f, &pci, name);
        if (!g) g = append(f, &pci, name, &memory);
        if (!g) continue;
        g->gpu.nvml_total = (int64_t)memory.total;
        g->gpu.nvml_free = (int64_t)memory.free;
    }
}
