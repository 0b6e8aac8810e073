/* Calls of the system that fail, and clocks that jump; for LD_PRELOAD.

   FAULT_CALL     rename, link, fsync, open (for writing), mkdir or flock
   FAULT_BELOW    only for paths that contain this text; empty for all
   FAULT_AT       the Nth such call of a process fails, and all later ones; 0: all of them
   FAULT_ONCE     if set, only the Nth
   FAULT_ERRNO    the error
   CLOCK_JUMPS    if set, the clock of the day jumps by hours, forwards and backwards, at every 40th look; with
                  "all", the other clocks also jump, forwards by minutes */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define FIND(name) if (!real) real = dlsym(RTLD_NEXT, name)

static int calls;

static int fails(const char *call, const char *path)
{
    const char *wanted = getenv("FAULT_CALL"), *below = getenv("FAULT_BELOW"), *at = getenv("FAULT_AT");

    if (!wanted || strcmp(wanted, call) || (below && !strstr(path, below)))
        return 0;
    calls++;
    if (at && (getenv("FAULT_ONCE") ? calls != atoi(at) : calls < atoi(at)))
        return 0;
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

static int fails_at(const char *call, int fd)
{
    char link[64], path[4096];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return fails(call, path);
}

int rename(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);

    FIND("rename");
    return fails("rename", to) ? -1 : real(from, to);
}

int link(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);

    FIND("link");
    return fails("link", to) ? -1 : real(from, to);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags)
{
    static int (*real)(int, const char *, int, const char *, int);

    FIND("linkat");
    return fails("link", to) ? -1 : real(from_at, from, to_at, to, flags);
}

int mkdir(const char *path, mode_t mode)
{
    static int (*real)(const char *, mode_t);

    FIND("mkdir");
    return fails("mkdir", path) ? -1 : real(path, mode);
}

int fsync(int fd)
{
    static int (*real)(int);

    FIND("fsync");
    return fails_at("fsync", fd) ? -1 : real(fd);
}

int flock(int fd, int how)
{
    static int (*real)(int, int);

    FIND("flock");
    return fails_at("flock", fd) ? -1 : real(fd, how);
}

#define OPENS(name)                                                                     \
    int name(const char *path, int flags, ...)                                          \
    {                                                                                   \
        static int (*real)(const char *, int, ...);                                     \
        va_list more;                                                                   \
        mode_t mode;                                                                    \
                                                                                        \
        va_start(more, flags);                                                          \
        mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;              \
        va_end(more);                                                                   \
        if (flags & (O_WRONLY | O_RDWR | O_CREAT) && fails("open", path))               \
            return -1;                                                                  \
        FIND(#name);                                                                    \
        return real(path, flags, mode);                                                 \
    }

OPENS(open)
OPENS(open64)

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    static int looks;
    static const long hours[] = {0, 5, -7, 30, -2, 12};
    const char *jumps = getenv("CLOCK_JUMPS");
    int step = __atomic_add_fetch(&looks, 1, __ATOMIC_RELAXED) / 40, result;

    FIND("clock_gettime");
    result = real(clock, now);
    if (jumps && clock == CLOCK_REALTIME)
        now->tv_sec += 3600 * hours[step % 6];
    if (jumps && !strcmp(jumps, "all") && clock == CLOCK_MONOTONIC)
        now->tv_sec += 120 * step;
    return result;
}

time_t time(time_t *where)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
