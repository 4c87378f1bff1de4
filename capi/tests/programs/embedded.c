/* The loop inside another one, of poll(2). */
#include "check.h"

#include <poll.h>

static unsigned turned_when_readable(ioloop loop) {
    struct pollfd polled = {.events = POLLIN};
    unsigned turned = 0;
    OK(ioloop_descriptor(loop, &polled.fd));
    CHECK(poll(&polled, 1, -1) == 1);
    OK(ioloop_turn(loop, 0, &turned));
    return turned;
}

static int rests(ioloop loop) {
    struct pollfd polled = {.events = POLLIN};
    OK(ioloop_descriptor(loop, &polled.fd));
    return poll(&polled, 1, 0) == 0;
}

static void post_again(ioloop loop, void *data) {
    count(loop, data);
    OK(ioloop_post(loop, stop, NULL, NULL));
}

static void a_loop_in_a_loop_of_poll(void) {
    ioloop loop = new_loop();
    struct item item = {0};
    CHECK(rests(loop));
    OK(ioloop_timer(loop, IOLOOP_MILLISECOND, 0, post_again, &item, dispose, NULL));
    unsigned turned = 0;
    while (item.called == 0)
        turned = turned_when_readable(loop);
    CHECK(turned == IOLOOP_WORK_LEFT);
    CHECK(turned_when_readable(loop) == IOLOOP_STOPPED);
    CHECK(rests(loop));
    OK(ioloop_close(loop));
}

/* It is closed behind the loop's back while a duplicate of it lives. */
static void a_loop_whose_descriptor_is_renewed(void) {
    ioloop loop = new_loop();
    struct item item = {0};
    int fds[2];
    pair(fds);
    int duplicate = dup(fds[0]);
    ioloop_id watch;
    OK(ioloop_watch(loop, fds[0], IOLOOP_READ, count_ready, &item, NULL, &watch));
    CHECK(close(fds[0]) == 0);
    OK(ioloop_remove(loop, watch));
    CHECK(write(fds[1], "x", 1) == 1);
    CHECK(turned_when_readable(loop) & IOLOOP_RENEWED);
    turn(loop);
    CHECK(rests(loop));
    CHECK(item.called == 0);
    OK(ioloop_close(loop));
    CHECK(close(duplicate) == 0 && close(fds[1]) == 0);
}

static void turn_the_other(ioloop loop, void *data) {
    ioloop other = *(ioloop *)data;
    REFUSED(IOLOOP_BUSY, ioloop_run(loop));
    REFUSED(IOLOOP_BUSY, ioloop_turn(loop, 0, NULL));
    REFUSED(IOLOOP_BUSY, ioloop_close(loop));
    REFUSED(IOLOOP_BUSY, ioloop_run(other));
    REFUSED(IOLOOP_BUSY, ioloop_turn(other, -1, NULL));
    turn(other);
    OK(ioloop_close(other));
    OK(ioloop_stop(loop));
}

static void a_turn_inside_of_another_loops_callback(void) {
    ioloop loop = new_loop(), other = new_loop();
    struct item item = {0};
    OK(ioloop_post(other, count, &item, dispose));
    OK(ioloop_post(loop, turn_the_other, &other, NULL));
    OK(ioloop_run(loop));
    CHECK(is(item, 1, 1));
    OK(ioloop_close(loop));
}

int main(void) {
    int before = next_descriptor();
    a_loop_in_a_loop_of_poll();
    a_loop_whose_descriptor_is_renewed();
    a_turn_inside_of_another_loops_callback();
    CHECK(next_descriptor() == before);
    return 0;
}
