/* Refusals, and the end of a loop. */
#include "check.h"

#include <sys/resource.h>

static void ignore_signal(ioloop loop, int signal, void *data) {
    (void)signal;
    count(loop, data);
}

static void ignore_report(ioloop loop, const char *text, void *data) {
    (void)text;
    count(loop, data);
}

static void what_is_refused_is_disposed_of_and_changes_nothing(void) {
    ioloop loop = new_loop();
    struct item item = {0};
    int fd;
    ioloop_id id = {0};

    REFUSED(IOLOOP_INVALID, ioloop_new(NULL, NULL));
    REFUSED(IOLOOP_INVALID, ioloop_descriptor(loop, NULL));
    REFUSED(IOLOOP_INVALID, ioloop_timeout(loop, NULL));
    REFUSED(IOLOOP_INVALID, ioloop_timer(loop, 0, 0, NULL, &item, dispose, &id));
    REFUSED(IOLOOP_INVALID, ioloop_post(loop, NULL, &item, dispose));
    REFUSED(IOLOOP_INVALID, ioloop_signal(loop, 10, NULL, &item, dispose, &id));
    REFUSED(IOLOOP_INVALID, ioloop_watch(loop, 0, IOLOOP_READ, NULL, &item, dispose, &id));
    CHECK(is(item, 0, 4));

    REFUSED(IOLOOP_INVALID, ioloop_watch(loop, 0, 64, count_ready, &item, dispose, &id));
    REFUSED(IOLOOP_DESCRIPTOR,
            ioloop_watch(loop, -1, IOLOOP_READ, count_ready, &item, dispose, &id));
    CHECK(strstr(ioloop_error(), "descriptor -1: it is not open") != NULL);
    OK(ioloop_descriptor(loop, &fd));
    REFUSED(IOLOOP_DESCRIPTOR,
            ioloop_watch(loop, fd, IOLOOP_READ, count_ready, &item, dispose, &id));
    CHECK((fd = open("/dev/null", O_RDONLY)) != -1);
    REFUSED(IOLOOP_UNSUPPORTED,
            ioloop_watch(loop, fd, IOLOOP_READ, count_ready, &item, dispose, &id));
    CHECK(strstr(ioloop_error(), "always ready") != NULL);
    CHECK(close(fd) == 0);
    CHECK(is(item, 0, 8) && id.number == 0);
    OK(ioloop_close(loop));
    REFUSED(IOLOOP_CLOSED, ioloop_close(loop));
}

static void numbers_that_name_nothing_or_something_else_find_nothing(void) {
    ioloop loop = new_loop(), other = new_loop();
    struct item item = {0};
    int fds[2];
    ioloop_id timer, signal, watch;
    pair(fds);
    OK(ioloop_timer(other, HOUR, 0, count, &item, dispose, &timer));
    OK(ioloop_signal(other, 10, ignore_signal, &item, dispose, &signal));
    OK(ioloop_watch(other, fds[0], IOLOOP_READ, count_ready, &item, dispose, &watch));
    REFUSED(IOLOOP_GONE, ioloop_modify(other, timer, 0));
    REFUSED(IOLOOP_GONE, ioloop_modify(other, signal, 0));
    REFUSED(IOLOOP_GONE, ioloop_reset(other, watch, 0, 0));
    REFUSED(IOLOOP_GONE, ioloop_reset(other, signal, 0, 0));
    uint64_t strangers[] = {0, loop.number, timer.number, signal.number, watch.number, UINT64_MAX};
    for (int i = 0; i < 6; i++) {
        ioloop_id id = {strangers[i]};
        ioloop stranger = {strangers[i]};
        REFUSED(IOLOOP_GONE, ioloop_remove(loop, id));
        REFUSED(IOLOOP_GONE, ioloop_reset(loop, id, 0, 0));
        REFUSED(IOLOOP_GONE, ioloop_modify(loop, id, 0));
        if (stranger.number == loop.number)
            continue;
        int disposed = item.disposed;
        REFUSED(IOLOOP_CLOSED, ioloop_timer(stranger, 0, 0, count, &item, dispose, NULL));
        REFUSED(IOLOOP_CLOSED, ioloop_run(stranger));
        REFUSED(IOLOOP_CLOSED, ioloop_close(stranger));
        CHECK(is(item, 0, disposed + 1));
    }
    int disposed = item.disposed;
    OK(ioloop_close(other));
    CHECK(is(item, 0, disposed + 3));
    OK(ioloop_close(loop));
    close_pair(fds);
}

static ioloop closing;

static void dispose_and_ask_again(void *data) {
    static struct item refused;
    dispose(data);
    int before = refused.disposed;
    REFUSED(IOLOOP_CLOSED, ioloop_timer(closing, 0, 0, count, &refused, dispose, NULL));
    REFUSED(IOLOOP_CLOSED,
            ioloop_watch(closing, 0, IOLOOP_READ, count_ready, &refused, dispose, NULL));
    REFUSED(IOLOOP_CLOSED, ioloop_post(closing, count, &refused, dispose));
    REFUSED(IOLOOP_CLOSED, ioloop_signal(closing, 10, ignore_signal, &refused, dispose, NULL));
    CHECK(is(refused, 0, before + 4));
}

static void what_is_left_is_disposed_of_once_when_the_loop_is_closed(void) {
    int fds[2];
    pair(fds);
    struct item items[7];
    memset(items, 0, sizeof items);
    struct item *next = items;
    ioloop_disposal dispose = dispose_and_ask_again;
    closing = new_loop();
    OK(ioloop_watch(closing, fds[0], IOLOOP_READ, count_ready, next++, dispose, NULL));
    OK(ioloop_watch(closing, fds[1], IOLOOP_WRITE, count_ready, next++, dispose, NULL));
    OK(ioloop_timer(closing, 0, 0, count, next++, dispose, NULL));
    OK(ioloop_timer(closing, IOLOOP_NEVER, 1, count, next++, dispose, NULL));
    OK(ioloop_signal(closing, 10, ignore_signal, next++, dispose, NULL));
    OK(ioloop_post(closing, count, next++, dispose));
    OK(ioloop_report(closing, ignore_report, next++, dispose));
    CHECK(is(items[6], 0, 0));
    OK(ioloop_close(closing));
    for (int i = 0; i < 7; i++)
        CHECK(is(items[i], 0, 1));
    close_pair(fds);
}

/* Without a descriptor that is free. */
static void a_limit_is_a_status_of_its_own(void) {
    struct rlimit before, none;
    ioloop loop = {0};
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = before;
    none.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    int status = ioloop_new(NULL, &loop);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(status == IOLOOP_LIMIT && loop.number == 0);
    CHECK(strstr(ioloop_error(), "open files") != NULL);
}

int main(void) {
    int before = next_descriptor();
    what_is_refused_is_disposed_of_and_changes_nothing();
    numbers_that_name_nothing_or_something_else_find_nothing();
    what_is_left_is_disposed_of_once_when_the_loop_is_closed();
    a_limit_is_a_status_of_its_own();
    CHECK(next_descriptor() == before);
    return 0;
}
