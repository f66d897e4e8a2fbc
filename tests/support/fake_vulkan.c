/* libvulkan.so.1 with a driver that misbehaves as $FAKE_VULKAN says, for test_gpu. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *vkGetInstanceProcAddr(void *instance, const char *name);

__attribute__((visibility("default"))) void *vkGetInstanceProcAddr(void *instance, const char *name)
{
    const char *how = getenv("FAKE_VULKAN");
    (void)instance;
    (void)name;
    if (how && strcmp(how, "crash") == 0) abort();
    if (how && strcmp(how, "exit") == 0) _exit(3);
    if (how && strcmp(how, "hang") == 0) {
        for (;;) pause();
    }
    return NULL; /* a loader without functions */
}
