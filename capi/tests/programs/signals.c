/* Signals. */
#include "check.h"

#include <pthread.h>
#include <signal.h>

struct heard {
    struct item item;
    int signal;
    ioloop_id id;
};

static void hear(ioloop loop, int signal, void *data) {
    struct heard *heard = data;
    count(loop, &heard->item);
    heard->signal = signal;
    OK(ioloop_stop(loop));
}

static int is_default(int signal) {
    struct sigaction now;
    CHECK(sigaction(signal, NULL, &now) == 0);
    return now.sa_handler == SIG_DFL;
}

static void a_signal_is_a_callback_until_it_is_removed(void) {
    ioloop loop = new_loop();
    struct heard heard = {.item = {0, 0}};
    CHECK(is_default(SIGUSR1));
    OK(ioloop_signal(loop, SIGUSR1, hear, &heard, dispose, &heard.id));
    for (int i = 1; i <= 3; i++) {
        CHECK(raise(SIGUSR1) == 0 && raise(SIGUSR1) == 0); /* Two are one. */
        OK(ioloop_run(loop));
        CHECK(is(heard.item, i, 0) && heard.signal == SIGUSR1);
    }
    OK(ioloop_remove(loop, heard.id));
    CHECK(is(heard.item, 3, 1) && is_default(SIGUSR1));
    REFUSED(IOLOOP_GONE, ioloop_remove(loop, heard.id));
    OK(ioloop_close(loop));
}

static void remove_it(ioloop loop, int signal, void *data) {
    hear(loop, signal, data);
    OK(ioloop_remove(loop, ((struct heard *)data)->id));
}

static void it_is_removed_in_its_own_callback(void) {
    ioloop loop = new_loop();
    struct heard heard = {.item = {0, 0}};
    OK(ioloop_signal(loop, SIGUSR1, remove_it, &heard, dispose, &heard.id));
    CHECK(raise(SIGUSR1) == 0);
    OK(ioloop_run(loop));
    CHECK(is(heard.item, 1, 1) && is_default(SIGUSR1));
    OK(ioloop_close(loop));
}

static volatile sig_atomic_t handled;

static void handle(int signal) { handled = signal; }

static void all_who_listen_are_told(void) {
    struct sigaction own = {.sa_handler = handle}, before;
    CHECK(sigaction(SIGUSR2, &own, &before) == 0);
    ioloop loops[] = {new_loop(), new_loop()};
    struct heard heard[3];
    memset(heard, 0, sizeof heard);
    for (int i = 0; i < 3; i++)
        OK(ioloop_signal(loops[i / 2], SIGUSR2, hear, &heard[i], dispose, &heard[i].id));
    CHECK(raise(SIGUSR2) == 0 && handled == SIGUSR2);
    OK(ioloop_run(loops[0]));
    OK(ioloop_run(loops[1]));
    for (int i = 0; i < 3; i++)
        CHECK(is(heard[i].item, 1, 0));
    OK(ioloop_close(loops[0]));
    OK(ioloop_close(loops[1]));
    for (int i = 0; i < 3; i++)
        CHECK(is(heard[i].item, 1, 1));
    struct sigaction after;
    CHECK(sigaction(SIGUSR2, &before, &after) == 0 && after.sa_handler == handle);
}

static void *kill_process(void *data) {
    (void)data;
    CHECK(kill(getpid(), SIGUSR1) == 0);
    return NULL;
}

static void it_wakes_a_loop_that_sleeps(void) {
    ioloop loop = new_loop();
    struct heard heard = {.item = {0, 0}};
    pthread_t thread;
    OK(ioloop_signal(loop, SIGUSR1, hear, &heard, dispose, NULL));
    CHECK(pthread_create(&thread, NULL, kill_process, NULL) == 0);
    OK(ioloop_run(loop));
    CHECK(pthread_join(thread, NULL) == 0 && is(heard.item, 1, 0));
    OK(ioloop_close(loop));
    CHECK(is(heard.item, 1, 1));
}

static void ignore(ioloop loop, int signal, void *data) {
    (void)signal;
    count(loop, data);
}

static ioloop told_at_the_end;

static void *come_and_go(void *data) {
    struct item item = {0};
    ioloop loop = new_loop();
    for (int i = 1; i <= 20; i++) {
        ioloop_id ids[2];
        OK(ioloop_signal(loop, SIGUSR1, ignore, &item, dispose, &ids[0]));
        OK(ioloop_signal(loop, SIGUSR1, ignore, &item, dispose, &ids[1]));
        turn(loop);
        OK(ioloop_remove(loop, ids[i % 2]));
        OK(ioloop_remove(loop, ids[1 - i % 2]));
        CHECK(item.disposed == 2 * i);
    }
    OK(ioloop_close(loop));
    OK(ioloop_post(told_at_the_end, count, data, NULL));
    return NULL;
}

static void listeners_come_and_go_while_signals_arrive(void) {
    struct item ended = {0}, heard = {0};
    ioloop loop = told_at_the_end = new_loop();
    pthread_t threads[2];
    OK(ioloop_signal(loop, SIGUSR1, ignore, &heard, dispose, NULL));
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, come_and_go, &ended) == 0);
    while (ended.called < 2) {
        CHECK(kill(getpid(), SIGUSR1) == 0);
        turn(loop);
    }
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    turn(loop);
    CHECK(heard.called > 0);
    OK(ioloop_close(loop));
    CHECK(is_default(SIGUSR1));
}

static void what_cannot_be_heard_is_refused(void) {
    const int signals[] = {SIGKILL, SIGSTOP, SIGSEGV, 0, -1, 1000};
    ioloop loop = new_loop();
    struct heard heard = {.item = {0, 0}};
    for (int i = 0; i < 6; i++) {
        REFUSED(IOLOOP_INVALID, ioloop_signal(loop, signals[i], hear, &heard, dispose, NULL));
        CHECK(is(heard.item, 0, i + 1) && strstr(ioloop_error(), "signal") != NULL);
    }
    OK(ioloop_close(loop));
}

int main(void) {
    int before = next_descriptor();
    a_signal_is_a_callback_until_it_is_removed();
    it_is_removed_in_its_own_callback();
    all_who_listen_are_told();
    it_wakes_a_loop_that_sleeps();
    listeners_come_and_go_while_signals_arrive();
    what_cannot_be_heard_is_refused();
    CHECK(next_descriptor() == before);
    return 0;
}
