/* What the programs have in common. */
#ifndef CHECK_H
#define CHECK_H

#define _GNU_SOURCE

#include "ioloop.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, ioloop_error());   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
#define OK(call) CHECK((call) == IOLOOP_OK)
#define REFUSED(status, call) CHECK((call) == (status) && strlen(ioloop_error()) > 0)

#define HOUR (3600 * IOLOOP_SECOND)

static const ioloop_id nothing = {0};

/* What a callback comes with: how often it was called and disposed of. */
struct item {
    int called, disposed;
};

static inline void dispose(void *data) { ((struct item *)data)->disposed++; }

static inline void count(ioloop loop, void *data) {
    (void)loop;
    ((struct item *)data)->called++;
}

static inline void count_ready(ioloop loop, int fd, unsigned events, void *data) {
    (void)fd;
    (void)events;
    count(loop, data);
}

static inline void stop(ioloop loop, void *data) {
    (void)data;
    OK(ioloop_stop(loop));
}

static inline int is(struct item item, int called, int disposed) {
    return item.called == called && item.disposed == disposed;
}

static inline ioloop new_loop(void) {
    ioloop loop = {0};
    OK(ioloop_new("a test", &loop));
    CHECK(loop.number != 0);
    return loop;
}

static inline void turn(ioloop loop) { OK(ioloop_turn(loop, 0, NULL)); }

static inline void pair(int fds[2]) {
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
}

static inline void close_pair(int fds[2]) { CHECK(close(fds[0]) == 0 && close(fds[1]) == 0); }

static inline int is_open(int fd) { return fcntl(fd, F_GETFD) != -1; }

/* The number of the descriptor that would be opened next. */
static inline int next_descriptor(void) {
    int fd = dup(0);
    CHECK(close(fd) == 0);
    return fd;
}

#endif
