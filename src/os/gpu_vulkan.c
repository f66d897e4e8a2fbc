/* Vulkan's physical devices, through the loader of the system (Vulkan 1.1, section "Devices"). The header is
 * needed to build this, the library only to run it; without the header Vulkan is reported as not built in. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "os/gpu_probe.h"

static void say(struct gpu_findings *f, const char *why)
{
    snprintf(f->why, sizeof f->why, "%s", why);
}

#if defined __has_include
#if __has_include(<vulkan/vulkan.h>)
#define HAS_VULKAN 1
#endif
#endif

#ifndef HAS_VULKAN

void gpu_probe_vulkan(struct gpu_findings *f)
{
    say(f, "this build knows nothing of Vulkan (its headers were not there)");
}

#else

#include <dlfcn.h>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

/* Later in the header than the Vulkan that Debian 12 and Ubuntu 22.04 ship: all that is used here is older.
 */
#define DEVICES_MAX    32
#define EXTENSIONS_MAX 512

/* Functions of the instance that are called, by their names without "vk". */
#define INSTANCE_FUNCTIONS(X)                                                                                \
    X(EnumeratePhysicalDevices)                                                                              \
    X(EnumerateDeviceExtensionProperties)                                                                    \
    X(GetPhysicalDeviceProperties)                                                                           \
    X(GetPhysicalDeviceProperties2)                                                                          \
    X(GetPhysicalDeviceFeatures2)                                                                            \
    X(GetPhysicalDeviceMemoryProperties2)

struct vulkan {
    PFN_vkGetInstanceProcAddr get;
    VkInstance instance;
#define X(name) PFN_vk##name name;
    INSTANCE_FUNCTIONS(X)
#undef X
    VkExtensionProperties extensions[EXTENSIONS_MAX]; /* of the device that is being asked */
    uint32_t n_extensions;
};

/* ISO C has no conversion from an object pointer to one to a function; POSIX promises that it works. */
static bool load(struct vulkan *v, struct gpu_findings *f)
{
    void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    void *get = library ? dlsym(library, "vkGetInstanceProcAddr") : NULL;
    memcpy(&v->get, &get, sizeof get);
    if (!get) say(f, "no Vulkan loader is installed (libvulkan.so.1)");
    return get != NULL;
}

static bool make_instance(struct vulkan *v, struct gpu_findings *f)
{
    PFN_vkEnumerateInstanceVersion version_of =
        (PFN_vkEnumerateInstanceVersion)v->get(NULL, "vkEnumerateInstanceVersion");
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)v->get(NULL, "vkCreateInstance");
    uint32_t version = VK_API_VERSION_1_0;
    if (version_of) version_of(&version);
    if (!create || version < VK_API_VERSION_1_1) {
        say(f, "the Vulkan loader is older than version 1.1");
        return false;
    }
    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                             .pApplicationName = "inline",
                             .apiVersion = VK_API_VERSION_1_1};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
    VkResult result = create(&info, NULL, &v->instance);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        say(f, "Vulkan has no driver for a graphics processor of this machine");
    } else if (result != VK_SUCCESS) {
        snprintf(f->why, sizeof f->why, "Vulkan does not start (error %d)", (int)result);
    }
    return result == VK_SUCCESS;
}

static bool bind(struct vulkan *v, struct gpu_findings *f)
{
    bool is_whole = true;
#define X(name)                                                                                              \
    v->name = (PFN_vk##name)v->get(v->instance, "vk" #name);                                                 \
    is_whole = is_whole && v->name;
    INSTANCE_FUNCTIONS(X)
#undef X
    if (!is_whole) say(f, "the Vulkan loader lacks functions of version 1.1");
    return is_whole;
}

static bool has_extension(const struct vulkan *v, const char *name)
{
    for (uint32_t i = 0; i < v->n_extensions; i++) {
        if (strcmp(v->extensions[i].extensionName, name) == 0) return true;
    }
    return false;
}

static enum gpu_kind kind_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return GPU_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return GPU_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return GPU_VIRTUAL;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return GPU_CPU;
    default:
        return GPU_OTHER;
    }
}

/* Structures of extensions are only handed to devices that have them. */
static void ask_identity(struct vulkan *v, VkPhysicalDevice d, struct gpu_found *out)
{
    VkPhysicalDevicePCIBusInfoPropertiesEXT pci = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT};
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES};
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &id};
    void **end = &id.pNext;
    if (has_extension(v, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME)) {
        *end = &driver;
        end = &driver.pNext;
    }
    out->pci.is_known = has_extension(v, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME);
    if (out->pci.is_known) *end = &pci;
    v->GetPhysicalDeviceProperties2(d, &p);

    struct gpu *g = &out->gpu;
    snprintf(g->name, sizeof g->name, "%.127s", p.properties.deviceName);
    snprintf(g->driver, sizeof g->driver, "%.31s%s%.31s", driver.driverName, *driver.driverInfo ? " " : "",
             driver.driverInfo);
    g->kind = kind_of(p.properties.deviceType);
    g->vendor = p.properties.vendorID;
    g->api_version = p.properties.apiVersion;
    memcpy(out->uuid, id.deviceUUID, sizeof out->uuid);
    out->pci.domain = pci.pciDomain;
    out->pci.bus = pci.pciBus;
    out->pci.device = pci.pciDevice;
}

/* A card's own memory are its device-local heaps. Others share the machine's, and all heaps are theirs. */
static void ask_memory(struct vulkan *v, VkPhysicalDevice d, struct gpu *g)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    bool has_budget = has_extension(v, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    if (has_budget) p.pNext = &budget;
    v->GetPhysicalDeviceMemoryProperties2(d, &p);
    for (uint32_t i = 0; i < p.memoryProperties.memoryHeapCount && i < VK_MAX_MEMORY_HEAPS; i++) {
        const VkMemoryHeap *heap = &p.memoryProperties.memoryHeaps[i];
        if (g->kind == GPU_DISCRETE && !(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)) continue;
        int64_t left = (int64_t)(budget.heapBudget[i] - budget.heapUsage[i]);
        g->memory_bytes += (int64_t)heap->size;
        g->free_bytes += !has_budget ? (int64_t)heap->size : left > 0 ? left : 0;
    }
}

static void ask_features(struct vulkan *v, VkPhysicalDevice d, struct gpu *g)
{
    VkPhysicalDeviceShaderFloat16Int8FeaturesKHR small = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &small};
    if (!has_extension(v, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME)) return;
    v->GetPhysicalDeviceFeatures2(d, &p);
    g->has_f16 = small.shaderFloat16;
    g->has_i8 = small.shaderInt8;
}

static void ask_device(struct vulkan *v, VkPhysicalDevice d, struct gpu_findings *f)
{
    VkPhysicalDeviceProperties p;
    v->GetPhysicalDeviceProperties(d, &p);
    if (p.apiVersion < VK_API_VERSION_1_1 || f->n == GPUS_MAX) return; /* it may lack the ..2 functions */
    v->n_extensions = EXTENSIONS_MAX;
    if (v->EnumerateDeviceExtensionProperties(d, NULL, &v->n_extensions, v->extensions) < 0)
        v->n_extensions = 0;
    struct gpu_found *out = &f->list[f->n++];
    *out = (struct gpu_found){0};
    ask_identity(v, d, out);
    ask_memory(v, d, &out->gpu);
    ask_features(v, d, &out->gpu);
}

/* Neither the instance nor the library is closed: the process ends, and drivers have bugs there. */
void gpu_probe_vulkan(struct gpu_findings *f)
{
    VkPhysicalDevice devices[DEVICES_MAX];
    uint32_t n = DEVICES_MAX;
    struct vulkan *v = MEM_NEW(struct vulkan);
    if (load(v, f) && make_instance(v, f) && bind(v, f)) {
        if (v->EnumeratePhysicalDevices(v->instance, &n, devices) < 0) n = 0;
        for (uint32_t i = 0; i < n; i++) ask_device(v, devices[i], f);
        if (f->n == 0) say(f, "Vulkan has no driver for a graphics processor of this machine");
    }
    mem_free(v);
}

#endif
