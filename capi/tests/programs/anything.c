/*
 * Does anything in any order, in callbacks and disposals too: whatever it was, nothing is disposed of
 * twice or never, and no call returns anything but what the header has for it. Always in the same
 * order: the numbers have a fixed seed.
 */
#include "check.h"

#include <signal.h>

enum { ITEMS = 1000, IDS = 16, PAIRS = 4 };

static struct {
    ioloop loop;
    ioloop_id ids[IDS];
    int fds[PAIRS][2];
    struct item items[ITEMS];
    int taken, depth;
    uint64_t seed;
    int answers[IOLOOP_BUG + 1];
} any;

static uint64_t any_number(uint64_t below) {
    any.seed ^= any.seed << 13;
    any.seed ^= any.seed >> 7;
    any.seed ^= any.seed << 17;
    return any.seed % below;
}

static void do_anything(void);

static void call_anything(ioloop loop, void *data) {
    count(loop, data);
    do_anything();
}

static void any_ready(ioloop loop, int fd, unsigned events, void *data) {
    (void)fd;
    (void)events;
    call_anything(loop, data);
}

static void any_signal(ioloop loop, int signal, void *data) {
    (void)signal;
    call_anything(loop, data);
}

static void dispose_of_any(void *data) {
    dispose(data);
    do_anything();
}

static int close_and_begin_anew(void) {
    ioloop closed = any.loop;
    int answer = ioloop_close(closed);
    if (answer == IOLOOP_OK && any.loop.number == closed.number) /* Unless a disposal has begun anew already. */
        any.loop = new_loop();
    return answer;
}

static void do_anything(void) {
    static const uint64_t delays[] = {0, IOLOOP_MILLISECOND / 10, HOUR, IOLOOP_NEVER};
    static const unsigned events[] = {0, IOLOOP_READ, IOLOOP_WRITE, IOLOOP_READ | IOLOOP_WRITE};
    ioloop_id *id = &any.ids[any_number(IDS)];
    int *fds = any.fds[any_number(PAIRS)], answer;
    if (any.depth == 3 || any.taken == ITEMS)
        return;
    any.depth++;
    switch (any_number(12)) {
    case 0:
    case 1:
        answer = ioloop_timer(any.loop, delays[any_number(4)], delays[any_number(3)], call_anything,
                              &any.items[any.taken++], dispose_of_any, id);
        break;
    case 2:
    case 3:
        answer = ioloop_watch(any.loop, fds[any_number(2)], events[any_number(4)], any_ready,
                              &any.items[any.taken++], dispose_of_any, id);
        break;
    case 4:
        answer = ioloop_post(any.loop, call_anything, &any.items[any.taken++], dispose_of_any);
        break;
    case 5:
        answer = ioloop_remove(any.loop, *id);
        break;
    case 6:
        answer = ioloop_modify(any.loop, *id, events[any_number(4)]);
        break;
    case 7:
        answer = ioloop_signal(any.loop, any_number(2) ? SIGUSR1 : SIGUSR2, any_signal,
                               &any.items[any.taken++], dispose_of_any, id);
        break;
    case 8:
        answer = ioloop_reset(any.loop, *id, delays[any_number(4)], delays[any_number(3)]);
        break;
    case 9:
        answer = any_number(2) ? ioloop_stop(any.loop) : raise(SIGUSR1);
        break;
    case 10:
        answer = any_number(10) ? IOLOOP_OK : close_and_begin_anew();
        break;
    default:
        answer = ioloop_turn(any.loop, 0, NULL);
    }
    any.answers[answer]++;
    any.depth--;
}

int main(void) {
    any.seed = 88172645463325252;
    CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
    for (int i = 0; i < PAIRS; i++)
        pair(any.fds[i]);
    any.loop = new_loop();
    while (any.taken < ITEMS)
        do_anything();
    OK(ioloop_close(any.loop));
    int called = 0;
    for (int i = 0; i < ITEMS; i++) {
        CHECK(any.items[i].disposed == 1);
        called += any.items[i].called;
    }
    CHECK(called > ITEMS / 2);
    for (int answer = 0; answer <= IOLOOP_BUG; answer++) {
        int is_meant = answer == IOLOOP_OK || answer == IOLOOP_CLOSED || answer == IOLOOP_GONE
                       || answer == IOLOOP_BUSY || answer == IOLOOP_EXISTS;
        CHECK((any.answers[answer] > 0) == is_meant);
    }
    for (int i = 0; i < PAIRS; i++)
        close_pair(any.fds[i]);
    return 0;
}
