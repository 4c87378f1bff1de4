// Bursts on libevent. What the user keeps is an allocation of its own.

#include "kept.h"
#include <event2/bufferevent.h>

static void on_second(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events, (void)argument;
    event_base_loopbreak(base);
}

static void idle_a_second(void) {
    struct timeval second = {1, 0};
    event_base_once(base, -1, EV_TIMEOUT, on_second, NULL, &second);
    run_until_broken();
}

// An event, with what its user keeps.
struct kept_event {
    struct event *event;
    char users[USERS];
};

static void free_kept(struct kept_event *kept) {
    event_free(kept->event);
    free(kept);
}

static void on_last_fired(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events;
    free_kept(argument);
    if (--left == 0) event_base_loopbreak(base);
}

static void fill_timers(uint64_t count) {
    struct timeval delay = {DUE / 1000, DUE % 1000 * 1000};
    left = count;
    for (uint64_t i = 0; i < count; i++) {
        struct kept_event *kept = malloc(sizeof *kept);
        kept->event = evtimer_new(base, on_last_fired, kept);
        evtimer_add(kept->event, &delay);
    }
}

static void fill_posts(uint64_t count) {
    fill_queue(count);
    event_active(posted, EV_READ, 0);
}

static struct kept_event **burst_watches;
static struct link *burst_links;
static uint64_t burst_count;

static void fill_watches(uint64_t count) {
    burst_links = ring(burst_count = count, 0, 1);
    burst_watches = calloc(count, sizeof *burst_watches);
    for (uint64_t i = 0; i < count; i++) {
        burst_watches[i] = malloc(sizeof(struct kept_event));
        burst_watches[i]->event =
            event_new(base, burst_links[i].reader, EV_READ | EV_PERSIST, on_nothing, burst_watches[i]);
        event_add(burst_watches[i]->event, NULL);
    }
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void drain_watches(void) {
    for (uint64_t i = 0; i < burst_count; i++) free_kept(burst_watches[i]);
    event_base_loop(base, EVLOOP_NONBLOCK);
    free(burst_watches);
    close_ring(burst_links, burst_count);
}

static void on_burst_read(struct bufferevent *stream, void *users) {
    (void)users;
    char buffer[2 * REQUEST];
    bufferevent_read(stream, buffer, sizeof buffer);
    if (--left == 0) event_base_loopbreak(base);
}

static void on_burst_end(struct bufferevent *stream, short events, void *users) {
    (void)events;
    bufferevent_free(stream);
    free(users);
    if (--left == 0) event_base_loopbreak(base);
}

static void fill_streams(uint64_t count) {
    open_pairs(left = count);
    for (uint64_t i = 0; i < count; i++) {
        struct bufferevent *stream = bufferevent_socket_new(base, ours[i], BEV_OPT_CLOSE_ON_FREE);
        bufferevent_setcb(stream, on_burst_read, NULL, on_burst_end, malloc(USERS));
        bufferevent_enable(stream, EV_READ);
    }
    run_until_broken();
    left = count;
}

static void drain_streams(void) {
    close_theirs();
    run_until_broken();
    // It frees them later.
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void kept(uint64_t operations, const uint64_t *parameters) {
    static const struct burst BURSTS[] = {
        {fill_timers, run_until_broken},
        {fill_posts, run_until_broken},
        {fill_watches, drain_watches},
        {fill_streams, drain_streams},
    };
    evthread_use_pthreads();
    open_base();
    posted = event_new(base, -1, EV_PERSIST, on_posted, NULL);
    measure_kept(operations, BURSTS[parameters[0]], idle_a_second);
}
