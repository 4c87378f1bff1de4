// The workloads on libuv.

#include "peer.h"
#include <uv.h>

static uv_loop_t loop;
static uint64_t left;

static void close_one(uv_handle_t *handle, void *unused) {
    (void)unused;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void open_loop(void) { check(uv_loop_init(&loop) == 0, "uv_loop_init"); }

static void close_loop(void) {
    uv_walk(&loop, close_one, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    check(uv_loop_close(&loop) == 0, "uv_loop_close");
}

// ---- rings

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)status, (void)events;
    pass(poll->data);
    if (--left == 0) uv_stop(&loop);
}

static uv_poll_t *watch(struct link *links, uint64_t count, uint64_t operations) {
    uv_poll_t *polls = calloc(count, sizeof *polls);
    left = operations;
    for (uint64_t i = 0; i < count; i++) {
        check(uv_poll_init(&loop, &polls[i], links[i].reader) == 0, "uv_poll_init");
        polls[i].data = &links[i];
        uv_poll_start(&polls[i], UV_READABLE, on_readable);
    }
    return polls;
}

static void run_ring(uint64_t operations, const uint64_t *parameters, int of_eventfds) {
    open_loop();
    struct link *links = ring(parameters[0], parameters[1], of_eventfds);
    uv_poll_t *polls = watch(links, parameters[0], operations);
    start();
    uv_run(&loop, UV_RUN_DEFAULT);
    end(operations);
    close_loop();
    close_ring(links, parameters[0]);
    free(polls);
}

static void ring_of_pipes(uint64_t operations, const uint64_t *parameters) { run_ring(operations, parameters, 0); }

static void ring_of_eventfds(uint64_t operations, const uint64_t *parameters) { run_ring(operations, parameters, 1); }

// ---- timers

static void free_timer(uv_handle_t *timer) { free(timer); }

static void on_fired(uv_timer_t *timer) { uv_close((uv_handle_t *)timer, free_timer); }

static uv_timer_t *set_timer(uint64_t milliseconds, uv_timer_cb callback) {
    uv_timer_t *timer = malloc(sizeof *timer);
    uv_timer_init(&loop, timer);
    uv_timer_start(timer, callback, milliseconds, 0);
    return timer;
}

// Its timers are of whole milliseconds.
static void timers_fired(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    open_loop();
    start();
    for (uint64_t i = 0; i < operations; i++) set_timer(below(operations * 1000) / 1000000 + 1, on_fired);
    uv_run(&loop, UV_RUN_DEFAULT);
    end(operations);
    close_loop();
}

static void timers_cancelled(uint64_t operations, const uint64_t *parameters) {
    uint64_t live = parameters[0] < operations ? parameters[0] : operations;
    uv_timer_t **timers = calloc(live, sizeof *timers);
    open_loop();
    start();
    for (uint64_t round = 0; round < operations / live; round++) {
        for (uint64_t i = 0; i < live; i++) timers[i] = set_timer(600000 + below(1000000) / 1000, on_fired);
        for (uint64_t i = 0; i < live; i++) uv_close((uv_handle_t *)timers[i], free_timer);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    end(operations);
    close_loop();
    free(timers);
}

static void timers_rearmed(uint64_t operations, const uint64_t *parameters) {
    uint64_t live = operations / parameters[0];
    uv_timer_t **timers = calloc(live, sizeof *timers);
    open_loop();
    start();
    for (uint64_t i = 0; i < live; i++) timers[i] = set_timer(600000 + i, on_fired);
    for (uint64_t round = 0; round < parameters[0]; round++)
        for (uint64_t i = 0; i < live; i++) uv_timer_start(timers[i], on_fired, 600000 + round, 0);
    end(operations);
    for (uint64_t i = 0; i < live; i++) uv_close((uv_handle_t *)timers[i], free_timer);
    close_loop();
    free(timers);
}

static void on_late(uv_timer_t *timer) {
    uint64_t next = next_deadline();
    if (next == 0) return uv_stop(&loop);
    uv_update_time(&loop);
    // Rounded up, so none is early.
    uv_timer_start(timer, on_late, (next - monotonic() + 999999) / 1000000, 0);
}

static void lateness(uint64_t operations, const uint64_t *parameters) {
    open_loop();
    struct link *links = ring(100, parameters[0], 0);
    uv_poll_t *polls = parameters[0] > 0 ? watch(links, 100, MANY) : NULL;
    uint64_t first = first_deadline(operations);
    uv_timer_t timer;
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, on_late, (first - monotonic() + 999999) / 1000000, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    end_lateness();
    close_loop();
    close_ring(links, 100);
    free(polls);
}

// ---- the longest of all turns

static void on_fired_of_many(uv_timer_t *timer) {
    left--;
    on_fired(timer);
}

static uint64_t kind;

static void on_nothing(uv_poll_t *poll, int status, int events) { (void)poll, (void)status, (void)events; }

static void *add_watch(uint64_t index) {
    uv_poll_t *poll = malloc(sizeof *poll);
    uv_poll_init(&loop, poll, crowd_links[index].reader);
    uv_poll_start(poll, UV_READABLE, on_nothing);
    return poll;
}

static void free_handle(uv_handle_t *handle) { free(handle); }

static void close_handle(void *handle) { uv_close(handle, free_handle); }

static void *set_timeout(uint64_t index) {
    (void)index;
    return set_timer(600000 + below(4000), on_fired);
}

static void on_turn(uv_idle_t *idle) {
    (void)idle;
    note_turn();
    int done = kind == TIMERS    ? left == 0
               : kind == POSTS   ? posts_left == 0
               : kind == WATCHES ? change_watches(add_watch, close_handle)
                                 : change_timeouts(set_timeout, close_handle);
    if (done) uv_stop(&loop);
}

static uv_async_t posted;

static void wake(void) { uv_async_send(&posted); }

static void on_posted(uv_async_t *async) {
    (void)async;
    serve_queue();
    if (posts_left == 0) uv_stop(&loop);
}

// Its timers are of whole milliseconds.
static void worst(uint64_t operations, const uint64_t *parameters) {
    open_loop();
    left = operations;
    kind = parameters[0];
    open_crowd(kind, operations);
    uv_async_init(&loop, &posted, on_posted);
    for (uint64_t i = 0; kind == TIMERS && i < operations; i++) set_timer(worst_delay() / 1000, on_fired_of_many);
    for (uint64_t i = 0; kind == TIMEOUTS && i < operations; i++) crowd[i] = set_timeout(i);
    if (kind == POSTS) post_before(operations, wake);
    uv_idle_t idle;
    uv_idle_init(&loop, &idle);
    uv_idle_start(&idle, on_turn);
    uv_run(&loop, UV_RUN_DEFAULT);
    // The turn of the last posts.
    note_turn();
    end_worst();
    close_loop();
    close_crowd();
}

// ---- a descriptor beside callbacks of each iteration

static uint64_t spins;
static int late_pair[2];
static uint64_t late_since;

static void on_idle(uv_idle_t *idle) {
    (void)idle;
    uint64_t until = monotonic() + spins * 1000;
    while (monotonic() < until) continue;
}

static void on_late_byte(uv_poll_t *poll, int status, int events) {
    (void)poll, (void)status, (void)events;
    char buffer[8];
    check(read(late_pair[0], buffer, sizeof buffer) > 0, "read");
    if (late_since) late[lateness_count++] = (int64_t)(monotonic() - late_since);
    if (lateness_count == lateness_left) return uv_stop(&loop);
    late_since = monotonic();
    check(write(late_pair[1], "x", 1) == 1, "write");
}

static void late_descriptor(uint64_t operations, const uint64_t *parameters) {
    open_loop();
    late = calloc(operations, sizeof *late);
    lateness_left = operations;
    lateness_count = late_since = 0;
    spins = parameters[1];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, late_pair) == 0, "socketpair");
    check(write(late_pair[1], "x", 1) == 1, "write");
    uv_poll_t poll;
    uv_poll_init(&loop, &poll, late_pair[0]);
    uv_poll_start(&poll, UV_READABLE, on_late_byte);
    uv_idle_t *idles = calloc(parameters[0], sizeof *idles);
    for (uint64_t i = 0; i < parameters[0]; i++) {
        uv_idle_init(&loop, &idles[i]);
        uv_idle_start(&idles[i], on_idle);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    end_lateness();
    close_loop();
    free(idles);
    close(late_pair[0]);
    close(late_pair[1]);
}

// ---- echo: streams, as its users have them

static char request[2 * REQUEST];

static void give_buffer(uv_handle_t *handle, size_t size, uv_buf_t *buffer) {
    (void)handle, (void)size;
    *buffer = uv_buf_init(request, sizeof request);
}

static void on_request(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer) {
    if (n <= 0) return;
    uv_buf_t answer = uv_buf_init(buffer->base, (unsigned)n);
    check(uv_try_write(stream, &answer, 1) == n, "uv_try_write");
    if (--left == 0) uv_stop(&loop);
}

static void echo(uint64_t operations, const uint64_t *parameters) {
    open_loop();
    uv_tcp_t *streams = calloc(parameters[1], sizeof *streams);
    for (uint64_t i = 0; i < parameters[1]; i++) {
        uv_tcp_init(&loop, &streams[i]);
        check(uv_tcp_open(&streams[i], connection((uint16_t)parameters[0])) == 0, "uv_tcp_open");
        uv_read_start((uv_stream_t *)&streams[i], give_buffer, on_request);
    }
    left = operations;
    start();
    uv_run(&loop, UV_RUN_DEFAULT);
    end(operations);
    close_loop();
    free(streams);
}

// ---- a timer and a post a millisecond, beside requests

enum { LATE = 1 << 16 };

struct late {
    int64_t values[LATE];
    uint64_t count;
};

static struct late late_timers, late_posts;
static uint64_t tick_deadline, sent[LATE], sent_count;
static pthread_mutex_t sent_lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int sends_over;

static void note_late(struct late *late, int64_t value) {
    if (late->count < LATE) late->values[late->count++] = value;
}

static void print_late(struct late *late) {
    qsort(late->values, late->count, sizeof *late->values, ascending);
    printf("%f %f ", (double)late->values[late->count * 50 / 100] / 1000,
           (double)late->values[late->count * 99 / 100] / 1000);
}

static void on_tick(uv_timer_t *timer) {
    uint64_t time = monotonic();
    if (tick_deadline) note_late(&late_timers, (int64_t)(time - tick_deadline));
    tick_deadline = time + SECOND / 1000;
    uv_update_time(&loop);
    uv_timer_start(timer, on_tick, 1, 0);
}

static void on_sent(uv_async_t *async) {
    (void)async;
    pthread_mutex_lock(&sent_lock);
    for (uint64_t i = 0; i < sent_count; i++) note_late(&late_posts, (int64_t)(monotonic() - sent[i]));
    sent_count = 0;
    pthread_mutex_unlock(&sent_lock);
}

static void *send_again_and_again(void *async) {
    while (!sends_over) {
        usleep(1000);
        pthread_mutex_lock(&sent_lock);
        if (sent_count < LATE) sent[sent_count++] = monotonic();
        pthread_mutex_unlock(&sent_lock);
        uv_async_send(async);
    }
    return NULL;
}

static void late_echo(uint64_t operations, const uint64_t *parameters) {
    open_loop();
    uv_tcp_t *streams = calloc(parameters[1], sizeof *streams);
    for (uint64_t i = 0; i < parameters[1]; i++) {
        uv_tcp_init(&loop, &streams[i]);
        check(uv_tcp_open(&streams[i], connection((uint16_t)parameters[0])) == 0, "uv_tcp_open");
        uv_read_start((uv_stream_t *)&streams[i], give_buffer, on_request);
    }
    uv_timer_t timer;
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, on_tick, 0, 0);
    uv_async_t async;
    uv_async_init(&loop, &async, on_sent);
    pthread_t sender;
    pthread_create(&sender, NULL, send_again_and_again, &async);
    left = operations;
    start();
    uv_run(&loop, UV_RUN_DEFAULT);
    double cpu = (double)(now(CLOCK_PROCESS_CPUTIME_ID) - started_cpu);
    sends_over = 1;
    pthread_join(sender, NULL);
    print_late(&late_timers);
    print_late(&late_posts);
    printf("%f\n", cpu / (double)operations);
    close_loop();
    free(streams);
}

// ---- posts

struct side {
    uv_loop_t loop;
    uv_async_t mine, *theirs;
    uint64_t left;
};

static void on_ping(uv_async_t *async) {
    struct side *side = async->data;
    if (side->left-- > 0) uv_async_send(side->theirs);
    if (side->left == 0) uv_stop(&side->loop);
}

static void *run_side(void *argument) {
    struct side *side = argument;
    uv_run(&side->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void post(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    static struct side sides[2];
    for (int i = 0; i < 2; i++) {
        uv_loop_init(&sides[i].loop);
        uv_async_init(&sides[i].loop, &sides[i].mine, on_ping);
        sides[i].mine.data = &sides[i];
        sides[i].theirs = &sides[1 - i].mine;
        sides[i].left = operations / 2;
    }
    pthread_t other;
    pthread_create(&other, NULL, run_side, &sides[1]);
    start();
    uv_async_send(&sides[1].mine);
    run_side(&sides[0]);
    end(operations);
    pthread_join(other, NULL);
    for (int i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&sides[i].mine, NULL);
        uv_run(&sides[i].loop, UV_RUN_DEFAULT);
        uv_loop_close(&sides[i].loop);
    }
}

static void run_loop(void) { uv_run(&loop, UV_RUN_DEFAULT); }

static void posts(uint64_t operations, const uint64_t *parameters) {
    open_loop();
    uv_async_init(&loop, &posted, on_posted);
    from_threads(operations, parameters[0], wake, run_loop);
    close_loop();
}

// ---- a server: a time-out repeats until it is put off, the pool runs the jobs

struct peer {
    uv_tcp_t stream;
    uv_timer_t timeout;
    uv_work_t job;
    char request[REQUEST];
    size_t length;
};

static void on_idle_peer(uv_timer_t *timer) {
    (void)timer;
    check(0, "an idle connection");
}

static void answer(struct peer *peer, char *bytes, size_t length) {
    uv_buf_t buffer = uv_buf_init(bytes, (unsigned)length);
    check(uv_try_write((uv_stream_t *)&peer->stream, &buffer, 1) == (int)length, "uv_try_write");
    if (--left == 0) uv_stop(&loop);
}

static void run_job(uv_work_t *work) {
    (void)work;
    job(wake);
}

static void on_returned(uv_work_t *work, int status) {
    (void)status;
    struct peer *peer = work->data;
    answer(peer, peer->request, peer->length);
}

static void on_request_of_mix(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer) {
    if (n <= 0) return;
    struct peer *peer = stream->data;
    uv_timer_again(&peer->timeout);
    if (!begin_request()) return answer(peer, buffer->base, (size_t)n);
    memcpy(peer->request, buffer->base, (size_t)n);
    peer->length = (size_t)n;
    uv_queue_work(&loop, &peer->job, run_job, on_returned);
}

static void on_period(uv_timer_t *timer) { (void)timer; }

static void mix(uint64_t operations, const uint64_t *parameters) {
    open_loop();
    struct peer *peers = calloc(parameters[1], sizeof *peers);
    for (struct peer *peer = peers; peer < peers + parameters[1]; peer++) {
        peer->stream.data = peer->job.data = peer;
        uv_tcp_init(&loop, &peer->stream);
        check(uv_tcp_open(&peer->stream, connection((uint16_t)parameters[0])) == 0, "uv_tcp_open");
        uv_read_start((uv_stream_t *)&peer->stream, give_buffer, on_request_of_mix);
        uv_timer_init(&loop, &peer->timeout);
        uv_timer_start(&peer->timeout, on_idle_peer, TIMEOUT, TIMEOUT);
    }
    left = operations;
    uv_async_init(&loop, &posted, on_posted);
    uint64_t period = (uint64_t)start_posting(parameters[2], wake);
    uv_timer_t periodic;
    uv_timer_init(&loop, &periodic);
    uv_timer_start(&periodic, on_period, period, period);
    start();
    uv_run(&loop, UV_RUN_DEFAULT);
    end(operations);
    end_posting();
    close_loop();
    free(peers);
}

// ---- the rest

// It tells the kernel when the loop turns.
static void register_and_remove(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    open_loop();
    struct link *links = ring(1, 0, 1);
    uv_poll_t poll;
    start();
    for (uint64_t i = 0; i < operations; i++) {
        uv_poll_init(&loop, &poll, links[0].reader);
        uv_poll_start(&poll, UV_READABLE, on_nothing);
        uv_run(&loop, UV_RUN_NOWAIT);
        uv_close((uv_handle_t *)&poll, NULL);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    end(operations);
    close_loop();
    close_ring(links, 1);
}

static void turn(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    open_loop();
    struct link *links = ring(1, 0, 1);
    uv_poll_t *polls = watch(links, 1, MANY);
    uv_timer_t *timer = set_timer(600000, on_fired);
    start();
    for (uint64_t i = 0; i < operations; i++) uv_run(&loop, UV_RUN_NOWAIT);
    end(operations);
    uv_close((uv_handle_t *)timer, free_timer);
    close_loop();
    close_ring(links, 1);
    free(polls);
}

// A handle with what the user keeps behind it, as its users have them.
static void memory(uint64_t operations, const uint64_t *parameters) {
    (void)parameters;
    open_loop();
    struct link *links = ring(operations, 0, 1);
    start_memory();
    for (uint64_t i = 0; i < operations; i++) {
        uv_poll_t *poll = malloc(sizeof *poll + USERS);
        uv_poll_init(&loop, poll, links[i].reader);
        uv_poll_start(poll, UV_READABLE, on_nothing);
    }
    end_memory(operations, USERS);
    start_memory();
    for (uint64_t i = 0; i < operations; i++) {
        uv_timer_t *timer = malloc(sizeof *timer + USERS);
        uv_timer_init(&loop, timer);
        uv_timer_start(timer, on_fired, 600000, 0);
    }
    end_memory(operations, USERS);
}

#include "kept_libuv.h"

static void version(uint64_t operations, const uint64_t *parameters) {
    (void)operations, (void)parameters;
    puts(uv_version_string());
}

static const struct workload WORKLOADS[] = {
    {"ring", ring_of_pipes},
    {"ring-of-eventfds", ring_of_eventfds},
    {"timers-fired", timers_fired},
    {"timers-cancelled", timers_cancelled},
    {"timers-rearmed", timers_rearmed},
    {"worst", worst},
    {"lateness", lateness},
    {"late", late_descriptor},
    {"echo", echo},
    {"late-echo", late_echo},
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
