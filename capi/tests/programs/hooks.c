/* Hooks around a sleep. */
#include "check.h"

struct hooks {
    struct item before, after;
    int ahead; /* What a library has read ahead. */
    ioloop_id ids[2];
};

static int read_ahead(ioloop loop, void *data) {
    struct hooks *hooks = data;
    count(loop, &hooks->before);
    CHECK(hooks->before.called == hooks->after.called + 1);
    if (hooks->ahead == 0) {
        OK(ioloop_stop(loop));
        return 0;
    }
    hooks->ahead--;
    return 1;
}

static void woke(ioloop loop, void *data) {
    struct hooks *hooks = data;
    count(loop, &hooks->after);
    CHECK(hooks->before.called == hooks->after.called);
}

static void forget(void *data) {
    struct hooks *hooks = data;
    hooks->before.disposed++;
}

static void a_hook_keeps_the_loop_awake_while_there_is_something_to_do(void) {
    ioloop loop = new_loop();
    struct hooks hooks = {.ahead = 5};
    OK(ioloop_before_sleep(loop, read_ahead, &hooks, forget, &hooks.ids[0]));
    OK(ioloop_after_wake(loop, woke, &hooks, forget, &hooks.ids[1]));
    /* Else it would sleep for ever: there is nothing that it waits for. */
    OK(ioloop_run(loop));
    CHECK(hooks.ahead == 0 && hooks.before.called >= 6);
    CHECK(hooks.before.called == hooks.after.called);
    int called = hooks.before.called;
    for (int i = 0; i < 2; i++) {
        REFUSED(IOLOOP_GONE, ioloop_modify(loop, hooks.ids[i], 0));
        OK(ioloop_remove(loop, hooks.ids[i]));
        CHECK(hooks.before.disposed == i + 1);
        REFUSED(IOLOOP_GONE, ioloop_remove(loop, hooks.ids[i]));
    }
    turn(loop);
    CHECK(hooks.before.called == called && hooks.after.called == called);
    OK(ioloop_close(loop));
    REFUSED(IOLOOP_CLOSED, ioloop_before_sleep(loop, read_ahead, &hooks, forget, NULL));
    REFUSED(IOLOOP_CLOSED, ioloop_after_wake(loop, woke, &hooks, forget, NULL));
    CHECK(hooks.before.disposed == 4);
}

static ioloop closing;

static void ask_again(void *data) {
    struct hooks *hooks = data;
    forget(data);
    REFUSED(IOLOOP_CLOSED, ioloop_after_wake(closing, woke, hooks, forget, NULL));
}

static void a_hook_is_refused_while_its_loop_is_being_closed(void) {
    struct hooks hooks = {.ahead = 0};
    closing = new_loop();
    OK(ioloop_before_sleep(closing, read_ahead, &hooks, ask_again, NULL));
    REFUSED(IOLOOP_INVALID, ioloop_before_sleep(closing, NULL, &hooks, forget, NULL));
    REFUSED(IOLOOP_INVALID, ioloop_after_wake(closing, NULL, &hooks, forget, NULL));
    CHECK(hooks.before.disposed == 2);
    OK(ioloop_close(closing));
    CHECK(hooks.before.disposed == 4);
}

int main(void) {
    int before = next_descriptor();
    a_hook_keeps_the_loop_awake_while_there_is_something_to_do();
    a_hook_is_refused_while_its_loop_is_being_closed();
    CHECK(next_descriptor() == before);
    return 0;
}
