// What the programs in C share: clocks, the harness's random numbers, and the line that a sample prints.

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static inline void check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static uint64_t state = 1;

/// The harness's.
static inline uint64_t below(uint64_t limit) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % limit;
}

static inline double microseconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double began, began_cpu;

static inline void start(void) {
    // As many descriptors as are allowed.
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    began = microseconds(CLOCK_MONOTONIC);
    began_cpu = microseconds(CLOCK_PROCESS_CPUTIME_ID);
}

/// A number of /proc/self/status.
static inline double status(const char *field) {
    char line[256];
    double value = 0;
    FILE *file = fopen("/proc/self/status", "r");
    check(file != NULL, "/proc/self/status");
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, field, strlen(field))) value = strtod(line + strlen(field), NULL);
    }
    fclose(file);
    return value;
}

/// A value for each column: what a request took by the clock and of the processor, the peak memory, the threads.
static inline void print_job(uint64_t requests) {
    double wall = microseconds(CLOCK_MONOTONIC) - began, cpu = microseconds(CLOCK_PROCESS_CPUTIME_ID) - began_cpu;
    printf("%f %f %f %f\n", wall / (double)requests, cpu / (double)requests, status("VmHWM:") / 1024, status("Threads:"));
}
