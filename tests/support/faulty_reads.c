/* Reads of one file fail, as those of a bad disk or a lost share do; for LD_PRELOAD.

   FAULT_FILE   the file            FAULT_FROM   the byte from which on
   FAULT_ERRNO  the error           FAULT_WHEN   a path: nothing fails before it exists */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(int fd, off_t from, size_t count)
{
    const char *file = getenv("FAULT_FILE"), *when = getenv("FAULT_WHEN");
    char link[64], path[4096];
    ssize_t length;
    int before = errno;

    if (!file || !when || from < 0 || from + (off_t)count <= atoll(getenv("FAULT_FROM")))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    if (strcmp(path, file) || access(when, F_OK)) {
        errno = before;
        return 0;
    }
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

ssize_t read(int fd, void *to, size_t count)
{
    static ssize_t (*real)(int, void *, size_t);

    if (!real)
        real = dlsym(RTLD_NEXT, "read");
    return fails(fd, lseek(fd, 0, SEEK_CUR), count) ? -1 : real(fd, to, count);
}

ssize_t pread(int fd, void *to, size_t count, off_t from)
{
    static ssize_t (*real)(int, void *, size_t, off_t);

    if (!real)
        real = dlsym(RTLD_NEXT, "pread");
    return fails(fd, from, count) ? -1 : real(fd, to, count, from);
}

ssize_t pread64(int fd, void *to, size_t count, off64_t from)
{
    static ssize_t (*real)(int, void *, size_t, off64_t);

    if (!real)
        real = dlsym(RTLD_NEXT, "pread64");
    return fails(fd, from, count) ? -1 : real(fd, to, count, from);
}
