/* Timers. */
#include "check.h"

static void a_timer_is_reset_and_removed(void) {
    ioloop loop = new_loop();
    struct item reset = {0}, removed = {0}, fired = {0};
    ioloop_id timers[3];
    int64_t timeout = 0;
    OK(ioloop_timeout(loop, &timeout));
    CHECK(timeout == -1);
    OK(ioloop_timer(loop, HOUR, 0, count, &reset, dispose, &timers[0]));
    OK(ioloop_timeout(loop, &timeout));
    CHECK(timeout > 0 && timeout <= (int64_t)HOUR);
    OK(ioloop_timer(loop, UINT64_MAX - 1, 0, count, &removed, dispose, &timers[1]));
    OK(ioloop_timer(loop, 0, 0, count, &fired, dispose, &timers[2]));
    OK(ioloop_reset(loop, timers[0], IOLOOP_MILLISECOND, 0));
    OK(ioloop_remove(loop, timers[1]));
    CHECK(is(removed, 0, 1));
    while (reset.called == 0)
        OK(ioloop_turn(loop, -1, NULL));
    CHECK(is(reset, 1, 1) && is(removed, 0, 1) && is(fired, 1, 1));
    for (int i = 0; i < 3; i++) {
        REFUSED(IOLOOP_GONE, ioloop_remove(loop, timers[i]));
        REFUSED(IOLOOP_GONE, ioloop_reset(loop, timers[i], 0, 0));
    }
    OK(ioloop_close(loop));
}

struct again {
    struct item item;
    ioloop_id timer;
};

static void remove_itself_in_the_third_call(ioloop loop, void *data) {
    struct again *again = data;
    count(loop, &again->item);
    if (again->item.called < 3)
        return;
    OK(ioloop_remove(loop, again->timer));
    REFUSED(IOLOOP_GONE, ioloop_remove(loop, again->timer));
    CHECK(again->item.disposed == 0);
    OK(ioloop_timer(loop, IOLOOP_MILLISECOND, 0, stop, NULL, NULL, NULL));
}

static void a_timer_repeats_until_it_is_removed(void) {
    ioloop loop = new_loop();
    struct again again = {0};
    OK(ioloop_timer(loop, 0, IOLOOP_MICROSECOND, remove_itself_in_the_third_call, &again, dispose,
                    &again.timer));
    OK(ioloop_run(loop));
    CHECK(is(again.item, 3, 1));
    OK(ioloop_close(loop));
}

static void set_again_twice(ioloop loop, void *data) {
    struct again *again = data;
    count(loop, &again->item);
    if (again->item.called < 3)
        OK(ioloop_reset(loop, again->timer, 0, 0));
    else
        OK(ioloop_stop(loop));
}

static void a_timer_is_set_again_in_its_own_callback(void) {
    ioloop loop = new_loop();
    struct again again = {0};
    OK(ioloop_timer(loop, 0, 0, set_again_twice, &again, dispose, &again.timer));
    OK(ioloop_run(loop));
    CHECK(is(again.item, 3, 1)); /* The third call has not set it, and was the last. */
    REFUSED(IOLOOP_GONE, ioloop_reset(loop, again.timer, 0, 0));
    OK(ioloop_close(loop));
}

static void stop_itself(ioloop loop, void *data) {
    struct again *again = data;
    count(loop, &again->item);
    OK(ioloop_reset(loop, again->timer, IOLOOP_NEVER, 0));
    OK(ioloop_stop(loop));
}

static void a_timer_that_is_stopped_waits_to_be_set(void) {
    ioloop loop = new_loop();
    struct again again = {0};
    int64_t timeout = 0;
    OK(ioloop_timer(loop, IOLOOP_NEVER, 0, stop_itself, &again, dispose, &again.timer));
    for (int i = 1; i <= 3; i++) {
        OK(ioloop_timeout(loop, &timeout));
        CHECK(timeout == -1);
        OK(ioloop_reset(loop, again.timer, 0, i == 2 ? HOUR : 0));
        OK(ioloop_run(loop));
        CHECK(is(again.item, i, 0));
    }
    OK(ioloop_reset(loop, again.timer, 0, 0));
    OK(ioloop_reset(loop, again.timer, IOLOOP_NEVER, 0));
    turn(loop);
    CHECK(is(again.item, 3, 0));
    OK(ioloop_remove(loop, again.timer));
    CHECK(is(again.item, 3, 1));
    OK(ioloop_close(loop));
}

#define PERIOD IOLOOP_MILLISECOND

struct steady {
    int called;
    uint64_t from, to; /* The timer was set between these. */
    uint64_t earliest;
    ioloop_id timer;
};

/* When the next call is due can be told to within the time that it takes to ask. */
static void ask_for_the_next(ioloop loop, void *data) {
    struct steady *steady = data;
    int64_t left = 0;
    uint64_t before = ioloop_now();
    OK(ioloop_timeout(loop, &left));
    uint64_t after = ioloop_now();
    CHECK(left >= 0 && before - steady->from >= PERIOD * (uint64_t)++steady->called);
    uint64_t earliest = before + (uint64_t)left, latest = after + (uint64_t)left;
    uint64_t periods = (latest - steady->from) / PERIOD;
    CHECK(earliest <= steady->to + periods * PERIOD);
    if (steady->called == 8)
        OK(ioloop_stop(loop));
    /* It is late each time, by something that is no part of a period. */
    while (ioloop_now() < after + PERIOD / 7)
        continue;
}

static void the_times_of_a_repeating_timer_do_not_drift(void) {
    ioloop loop = new_loop();
    struct steady steady = {0};
    steady.from = ioloop_now();
    OK(ioloop_timer(loop, PERIOD, PERIOD, ask_for_the_next, &steady, NULL, NULL));
    steady.to = ioloop_now();
    OK(ioloop_run(loop));
    OK(ioloop_close(loop));
}

static void miss_some(ioloop loop, void *data) {
    struct steady *steady = data;
    switch (++steady->called) {
    case 1:
        while (ioloop_now() < steady->to + 10 * PERIOD)
            continue;
        steady->earliest = (ioloop_now() - steady->to) / PERIOD * PERIOD + steady->from;
        break;
    case 2: /* Of those that were missed, one is called late. */
        break;
    default:
        CHECK(ioloop_now() >= steady->earliest + PERIOD);
        OK(ioloop_stop(loop));
    }
}

static void times_that_were_missed_are_left_out(void) {
    ioloop loop = new_loop();
    struct steady steady = {0};
    steady.from = ioloop_now();
    OK(ioloop_timer(loop, PERIOD, PERIOD, miss_some, &steady, NULL, NULL));
    steady.to = ioloop_now();
    OK(ioloop_run(loop));
    CHECK(steady.called == 3);
    OK(ioloop_close(loop));
}

int main(void) {
    int before = next_descriptor();
    a_timer_is_reset_and_removed();
    a_timer_repeats_until_it_is_removed();
    a_timer_is_set_again_in_its_own_callback();
    a_timer_that_is_stopped_waits_to_be_set();
    the_times_of_a_repeating_timer_do_not_drift();
    times_that_were_missed_are_left_out();
    CHECK(next_descriptor() == before);
    return 0;
}
