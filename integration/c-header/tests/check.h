/* What the programs have in common. */
#ifndef CHECK_H
#define CHECK_H

#include "ioloop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(condition)                                                                                \
    do {                                                                                                \
        if (!(condition)) {                                                                             \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, ioloop_error());        \
            exit(1);                                                                                    \
        }                                                                                               \
    } while (0)
#define OK(call) CHECK((call) == IOLOOP_OK)
#define REFUSED(status, call) CHECK((call) == (status) && strlen(ioloop_error()) > 0)

#define MILLISECOND UINT64_C(1000000)
#define HOUR (3600000 * MILLISECOND)

/* What a callback comes with: how often it was called and disposed of. */
struct item {
    int called, disposed;
};

static void dispose(void *data) { ((struct item *)data)->disposed++; }

static void count(ioloop loop, void *data) {
    (void)loop;
    ((struct item *)data)->called++;
}

static ioloop new_loop(void) {
    ioloop loop = 0;
    OK(ioloop_new("a test", &loop));
    CHECK(loop != 0);
    return loop;
}

static void pair(int fds[2]) { CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0); }

static void close_pair(int fds[2]) { CHECK(close(fds[0]) == 0 && close(fds[1]) == 0); }

#endif
