/* A monotonic clock that is a million times slower, for programs that are counted under a tool.
 *
 * valgrind and strace run a program many times slower. A loop that goes by the time that callbacks take would
 * then poll and yield as though each took that long. A thousand times is not enough: while a busy machine has
 * the program wait for a processor, the clock goes on, and what is counted depends on who else works there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

enum { SLOWER = 1000000 };

static const long long SECOND = 1000000000;

typedef int clock_fn(clockid_t, struct timespec *);

int clock_gettime(clockid_t clock, struct timespec *at) {
    static clock_fn *real;
    static long long begun;
    if (real == NULL) {
        real = (clock_fn *)dlsym(RTLD_NEXT, "clock_gettime");
    }
    int failed = real(clock, at);
    if (failed || clock != CLOCK_MONOTONIC) {
        return failed;
    }
    long long now = at->tv_sec * SECOND + at->tv_nsec;
    if (begun == 0) {
        begun = now;
    }
    now = begun + (now - begun) / SLOWER;
    at->tv_sec = now / SECOND;
    at->tv_nsec = now % SECOND;
    return 0;
}
