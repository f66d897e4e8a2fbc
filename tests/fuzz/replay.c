/* Runs a fuzz target over every file of the directories given: the corpus as a regression test, and a found
 * input under a debugger. Stands in for libFuzzer's own main. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "os/file.h"

#define INPUT_MAX ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A block of exactly the file's size lets the address sanitizer see reads past its end. */
static bool run_file(const char *path)
{
    struct buf bytes;
    struct errmsg msg;
    buf_init(&bytes, INPUT_MAX);
    enum err err = file_read(path, &bytes, &msg);
    if (err) {
        fprintf(stderr, "%s\n", msg.text);
    } else {
        uint8_t *exact = malloc(bytes.len ? bytes.len : 1);
        memcpy(exact, buf_str(&bytes), bytes.len);
        LLVMFuzzerTestOneInput(exact, bytes.len);
        free(exact);
    }
    buf_clear(&bytes);
    return err == OK;
}

/* The number of files run; -1 if one could not be read. */
static int run_dir(const char *path)
{
    char file[4096];
    int n = 0;
    DIR *dir = opendir(path);
    if (!dir) return run_file(path) ? 1 : -1;
    for (struct dirent *entry; n >= 0 && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        n = run_file(file) ? n + 1 : -1;
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int n = run_dir(argv[i]);
        if (n < 0) return 1;
        total += n;
    }
    printf("%d inputs\n", total);
    return total > 0 ? 0 : 1; /* a replay of nothing proves nothing */
}
