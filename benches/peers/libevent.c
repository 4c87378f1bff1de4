// The workloads on libevent.

#include "peer.h"
#include <event2/event.h>
#include <event2/thread.h>

static struct event_base *base;
static uint64_t left;

static void open_base(void) { check((base = event_base_new()) != NULL, "event_base_new"); }

static void run_base(void) { event_base_dispatch(base); }

static void close_base(void) { event_base_free(base); }

// ---- callbacks: events without a descriptor, active at once

static void call_soon(event_callback_fn callback, void *argument) {
    event_base_once(base, -1, EV_TIMEOUT, callback, argument, NULL);
}

static void on_link(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events;
    if (left-- > 0) call_soon(on_link, argument);
}

static void chain(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    open_base();
    left = operations;
    call_soon(on_link, NULL);
    start();
    run_base();
    end(operations);
    close_base();
}

enum { BATCH = 1000 };

static void on_one_of_batch(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events;
    if (--left > 0 && left % BATCH == 0)
        for (int i = 0; i < BATCH; i++) call_soon(on_one_of_batch, argument);
}

static void batch(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    open_base();
    left = operations;
    for (int i = 0; i < BATCH; i++) call_soon(on_one_of_batch, NULL);
    start();
    run_base();
    end(operations);
    close_base();
}

// ---- rings

static void on_readable(evutil_socket_t fd, short events, void *link) {
    (void)fd, (void)events;
    pass(link);
    if (--left == 0) event_base_loopbreak(base);
}

static struct event **watch(struct link *links, uint64_t count, uint64_t operations) {
    struct event **watches = calloc(count, sizeof *watches);
    left = operations;
    for (uint64_t i = 0; i < count; i++) {
        watches[i] = event_new(base, links[i].reader, EV_READ | EV_PERSIST, on_readable, &links[i]);
        event_add(watches[i], NULL);
    }
    return watches;
}

static void free_watches(struct event **watches, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) event_free(watches[i]);
    free(watches);
}

static void run_ring(uint64_t operations, const uint64_t *parameters, int of_eventfds) {
    open_base();
    struct link *links = ring(parameters[0], parameters[1], of_eventfds);
    struct event **watches = watch(links, parameters[0], operations);
    start();
    run_base();
    end(operations);
    free_watches(watches, parameters[0]);
    close_base();
    close_ring(links, parameters[0]);
}

static void ring_of_pipes(uint64_t operations, const uint64_t *parameters) { run_ring(operations, parameters, 0); }

static void ring_of_eventfds(uint64_t operations, const uint64_t *parameters) { run_ring(operations, parameters, 1); }

// ---- timers

static struct timeval after(uint64_t microseconds) {
    return (struct timeval){(time_t)(microseconds / 1000000), (suseconds_t)(microseconds % 1000000)};
}

static void on_fired(evutil_socket_t fd, short events, void *timer) {
    (void)fd, (void)events;
    event_free(*(struct event **)timer);
    free(timer);
}

static void timers_fired(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    open_base();
    start();
    uint64_t begin = monotonic();
    for (uint64_t i = 0; i < operations; i++) {
        struct event **timer = malloc(sizeof *timer);
        *timer = evtimer_new(base, on_fired, timer);
        uint64_t due = begin + below(operations * 1000), time = monotonic();
        struct timeval delay = after(due > time ? (due - time + 999) / 1000 : 0);
        evtimer_add(*timer, &delay);
    }
    run_base();
    end(operations);
    close_base();
}

static void on_nothing(evutil_socket_t fd, short events, void *argument) { (void)fd, (void)events, (void)argument; }

static void timers_cancelled(uint64_t operations, const uint64_t *parameters) {
    uint64_t live = parameters[0] < operations ? parameters[0] : operations;
    struct event **timers = calloc(live, sizeof *timers);
    open_base();
    start();
    for (uint64_t round = 0; round < operations / live; round++) {
        for (uint64_t i = 0; i < live; i++) {
            timers[i] = evtimer_new(base, on_nothing, NULL);
            struct timeval delay = after(UINT64_C(600000000) + below(1000000));
            evtimer_add(timers[i], &delay);
        }
        for (uint64_t i = 0; i < live; i++) event_free(timers[i]);
    }
    end(operations);
    close_base();
    free(timers);
}

static void timers_rearmed(uint64_t operations, const uint64_t *parameters) {
    uint64_t live = operations / parameters[0];
    struct event **timers = calloc(live, sizeof *timers);
    open_base();
    start();
    for (uint64_t i = 0; i < live; i++) {
        timers[i] = evtimer_new(base, on_nothing, NULL);
        struct timeval delay = after(UINT64_C(600000000) + i * 1000);
        evtimer_add(timers[i], &delay);
    }
    for (uint64_t round = 0; round < parameters[0]; round++) {
        struct timeval delay = after(UINT64_C(600000000) + round * 1000);
        for (uint64_t i = 0; i < live; i++) evtimer_add(timers[i], &delay);
    }
    end(operations);
    for (uint64_t i = 0; i < live; i++) event_free(timers[i]);
    close_base();
    free(timers);
}

static void on_fired_of_many(evutil_socket_t fd, short events, void *timer) {
    left--;
    on_fired(fd, events, timer);
}

static uint64_t kind;

static void *add_watch(uint64_t index) {
    struct event *watch = event_new(base, crowd_links[index].reader, EV_READ | EV_PERSIST, on_nothing, NULL);
    event_add(watch, NULL);
    return watch;
}

static void free_event(void *event) { event_free(event); }

static void *set_timeout(uint64_t index) {
    (void)index;
    struct event *timer = evtimer_new(base, on_nothing, NULL);
    struct timeval delay = after(UINT64_C(600000000) + below(4000000));
    evtimer_add(timer, &delay);
    return timer;
}

static void on_turn(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events, (void)argument;
    note_turn();
    int done = kind == TIMERS    ? left == 0
               : kind == POSTS   ? posts_left == 0
               : kind == WATCHES ? change_watches(add_watch, free_event)
                                 : change_timeouts(set_timeout, free_event);
    if (done) event_base_loopbreak(base);
}

static struct event *posted;

static void wake(void) { event_active(posted, EV_READ, 0); }

static void on_posted(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events, (void)argument;
    serve_queue();
    if (posts_left == 0) event_base_loopbreak(base);
}

static void worst(uint64_t operations, const uint64_t *parameters) {
    evthread_use_pthreads();
    open_base();
    left = operations;
    kind = parameters[0];
    open_crowd(kind, operations);
    posted = event_new(base, -1, EV_PERSIST, on_posted, NULL);
    for (uint64_t i = 0; kind == TIMERS && i < operations; i++) {
        struct event **timer = malloc(sizeof *timer);
        *timer = evtimer_new(base, on_fired_of_many, timer);
        struct timeval delay = after(worst_delay());
        evtimer_add(*timer, &delay);
    }
    for (uint64_t i = 0; kind == TIMEOUTS && i < operations; i++) crowd[i] = set_timeout(i);
    if (kind == POSTS) post_before(operations, wake);
    // Callbacks that queue themselves keep its timers from firing; what is always readable does not.
    int readable = eventfd(1, EFD_CLOEXEC);
    struct event *turns = event_new(base, readable, EV_READ | EV_PERSIST, on_turn, NULL);
    event_add(turns, NULL);
    // Before the posts, which may be all of a turn.
    note_turn();
    run_base();
    note_turn();
    end_worst();
    event_free(turns);
    event_free(posted);
    close(readable);
    close_base();
    close_crowd();
}

static struct event *late_timer;

static void on_late(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events, (void)argument;
    uint64_t next = next_deadline();
    if (next == 0) {
        event_base_loopbreak(base);
        return;
    }
    struct timeval delay = after((next - monotonic() + 999) / 1000);
    evtimer_add(late_timer, &delay);
}

static void lateness(uint64_t operations, const uint64_t *parameters) {
    // Otherwise its timers are a millisecond coarse.
    struct event_config *config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
    check((base = event_base_new_with_config(config)) != NULL, "event_base_new_with_config");
    event_config_free(config);
    struct link *links = ring(100, parameters[0], 0);
    struct event **watches = parameters[0] > 0 ? watch(links, 100, MANY) : NULL;
    late_timer = evtimer_new(base, on_late, NULL);
    struct timeval delay = after((first_deadline(operations) - monotonic() + 999) / 1000);
    evtimer_add(late_timer, &delay);
    run_base();
    end_lateness();
    event_free(late_timer);
    if (watches) free_watches(watches, 100);
    close_base();
    close_ring(links, 100);
}

// ---- echo

static void on_request(evutil_socket_t fd, short events, void *argument) {
    (void)events, (void)argument;
    char request[REQUEST];
    ssize_t n = read(fd, request, sizeof request);
    if (n <= 0) return;
    check(write(fd, request, (size_t)n) == n, "write");
    if (--left == 0) event_base_loopbreak(base);
}

static void echo(uint64_t operations, const uint64_t *parameters) {
    open_base();
    for (uint64_t i = 0; i < parameters[1]; i++) {
        int fd = connection((uint16_t)parameters[0]);
        event_add(event_new(base, fd, EV_READ | EV_PERSIST, on_request, NULL), NULL);
    }
    left = operations;
    start();
    run_base();
    end(operations);
}

// ---- posts: user events, made active from another thread

struct side {
    struct event_base *base;
    struct event *mine, *theirs;
    uint64_t left;
};

static void on_ping(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events;
    struct side *side = argument;
    if (side->left-- > 0) event_active(side->theirs, EV_READ, 0);
    if (side->left == 0) event_base_loopbreak(side->base);
}

static void *run_side(void *argument) {
    event_base_loop(((struct side *)argument)->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

static void post(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    static struct side sides[2];
    evthread_use_pthreads();
    for (int i = 0; i < 2; i++) {
        sides[i].base = event_base_new();
        sides[i].mine = event_new(sides[i].base, -1, EV_PERSIST, on_ping, &sides[i]);
        sides[1 - i].theirs = sides[i].mine;
        sides[i].left = operations / 2;
    }
    pthread_t other;
    pthread_create(&other, NULL, run_side, &sides[1]);
    start();
    event_active(sides[1].mine, EV_READ, 0);
    run_side(&sides[0]);
    end(operations);
    pthread_join(other, NULL);
    for (int i = 0; i < 2; i++) {
        event_free(sides[i].mine);
        event_base_free(sides[i].base);
    }
}

static void run_until_broken(void) { event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY); }

static void posts(uint64_t operations, const uint64_t *parameters) {
    evthread_use_pthreads();
    open_base();
    posted = event_new(base, -1, EV_PERSIST, on_posted, NULL);
    from_threads(operations, parameters[0], wake, run_until_broken);
    event_free(posted);
    close_base();
}

// ---- a server: events with a time-out, which a request puts off; a thread of ours runs the jobs

struct peer {
    int fd;
    char request[REQUEST];
    ssize_t length;
};

static int jobs[2];

static void answer(const struct peer *peer) {
    check(write(peer->fd, peer->request, (size_t)peer->length) == peer->length, "write");
    if (--left == 0) event_base_loopbreak(base);
}

static void on_returned(void *peer) { answer(peer); }

static void *run_jobs(void *unused) {
    struct peer *peer;
    while (read(jobs[0], &peer, sizeof peer) == sizeof peer) {
        job(wake);
        if (enqueue(on_returned, peer)) wake();
    }
    return unused;
}

static void on_request_of_mix(evutil_socket_t fd, short events, void *argument) {
    check((events & EV_TIMEOUT) == 0, "an idle connection");
    struct peer *peer = argument;
    peer->length = read(fd, peer->request, sizeof peer->request);
    if (peer->length <= 0) return;
    if (!begin_request()) return answer(peer);
    check(write(jobs[1], &peer, sizeof peer) == sizeof peer, "write");
}

static void mix(uint64_t operations, const uint64_t *parameters) {
    evthread_use_pthreads();
    open_base();
    // Those that are equally long are in a list of their own.
    struct timeval ten_seconds = after(UINT64_C(1000) * TIMEOUT);
    const struct timeval *timeout = event_base_init_common_timeout(base, &ten_seconds);
    struct peer *peers = calloc(parameters[1], sizeof *peers);
    for (struct peer *peer = peers; peer < peers + parameters[1]; peer++) {
        peer->fd = connection((uint16_t)parameters[0]);
        event_add(event_new(base, peer->fd, EV_READ | EV_PERSIST, on_request_of_mix, peer), timeout);
    }
    left = operations;
    pthread_t working;
    check(pipe(jobs) == 0, "pipe");
    pthread_create(&working, NULL, run_jobs, NULL);
    posted = event_new(base, -1, EV_PERSIST, on_posted, NULL);
    struct timeval period = after(UINT64_C(1000) * (uint64_t)start_posting(parameters[2], wake));
    event_add(event_new(base, -1, EV_PERSIST, on_nothing, NULL), &period);
    start();
    run_base();
    end(operations);
    end_posting();
    close(jobs[1]);
    pthread_join(working, NULL);
}

// ---- the rest

static void register_and_remove(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    open_base();
    struct link *links = ring(1, 0, 1);
    start();
    for (uint64_t i = 0; i < operations; i++) {
        struct event *watch = event_new(base, links[0].reader, EV_READ | EV_PERSIST, on_nothing, NULL);
        event_add(watch, NULL);
        event_free(watch);
    }
    end(operations);
    close_base();
    close_ring(links, 1);
}

static void turn(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    open_base();
    struct link *links = ring(1, 0, 1);
    struct event **watches = watch(links, 1, MANY), *timer = evtimer_new(base, on_nothing, NULL);
    struct timeval delay = after(600000000);
    evtimer_add(timer, &delay);
    start();
    for (uint64_t i = 0; i < operations; i++) event_base_loop(base, EVLOOP_NONBLOCK);
    end(operations);
    event_free(timer);
    free_watches(watches, 1);
    close_base();
    close_ring(links, 1);
}

// What the user keeps is an allocation of its own, and not counted.
static void memory(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    open_base();
    struct link *links = ring(operations, 0, 1);
    struct timeval delay = after(600000000);
    start_memory();
    for (uint64_t i = 0; i < operations; i++)
        event_add(event_new(base, links[i].reader, EV_READ | EV_PERSIST, on_nothing, NULL), NULL);
    end_memory(operations, 0);
    start_memory();
    for (uint64_t i = 0; i < operations; i++) evtimer_add(evtimer_new(base, on_nothing, NULL), &delay);
    end_memory(operations, 0);
    start_memory();
    for (uint64_t i = 0; i < operations; i++) call_soon(on_nothing, NULL);
    end_memory(operations, 0);
}

#include "kept_libevent.h"

static void version(uint64_t operations, const uint64_t *parameters) {
    (void)operations, (void)parameters;
    puts(event_get_version());
}

static const struct workload WORKLOADS[] = {
    {"chain", chain},
    {"batch", batch},
    {"ring", ring_of_pipes},
    {"ring-of-eventfds", ring_of_eventfds},
    {"timers-fired", timers_fired},
    {"timers-cancelled", timers_cancelled},
    {"timers-rearmed", timers_rearmed},
    {"worst", worst},
    {"lateness", lateness},
    {"echo", echo},
    {"post", post},
    {"posts", posts},
    {"mix", mix},
    {"register", register_and_remove},
    {"turn", turn},
    {"memory", memory},
    {"kept", kept},
    {"version", version},
};

int main(int argc, char **argv) {
    return run(WORKLOADS, sizeof WORKLOADS / sizeof *WORKLOADS, argc, argv);
}
