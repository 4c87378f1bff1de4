// Bursts on libuv. Each handle has what the user keeps behind it.

#include "kept.h"

static void on_second(uv_timer_t *timer) {
    uv_stop(&loop);
    on_fired(timer);
}

static void idle_a_second(void) {
    set_timer(1000, on_second);
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void run_until_stopped(void) { uv_run(&loop, UV_RUN_DEFAULT); }

static void on_last_fired(uv_timer_t *timer) {
    if (--left == 0) uv_stop(&loop);
    uv_close((uv_handle_t *)timer, free_handle);
}

static void fill_timers(uint64_t count) {
    left = count;
    uv_update_time(&loop);
    for (uint64_t i = 0; i < count; i++) {
        uv_timer_t *timer = malloc(sizeof *timer + USERS);
        uv_timer_init(&loop, timer);
        uv_timer_start(timer, on_last_fired, DUE, 0);
    }
}

static uv_async_t burst_posted;

static void on_burst_posted(uv_async_t *async) {
    (void)async;
    serve_queue();
    uv_stop(&loop);
}

static void fill_posts(uint64_t count) {
    fill_queue(count);
    uv_async_send(&burst_posted);
}

static uv_poll_t **burst_polls;
static struct link *burst_links;
static uint64_t burst_count;

static void fill_polls(uint64_t count) {
    burst_links = ring(burst_count = count, 0, 1);
    burst_polls = calloc(count, sizeof *burst_polls);
    for (uint64_t i = 0; i < count; i++) {
        burst_polls[i] = malloc(sizeof(uv_poll_t) + USERS);
        uv_poll_init(&loop, burst_polls[i], burst_links[i].reader);
        uv_poll_start(burst_polls[i], UV_READABLE, on_nothing);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void drain_polls(void) {
    for (uint64_t i = 0; i < burst_count; i++) uv_close((uv_handle_t *)burst_polls[i], free_handle);
    uv_run(&loop, UV_RUN_NOWAIT);
    free(burst_polls);
    close_ring(burst_links, burst_count);
}

static void on_burst_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer) {
    (void)buffer;
    if (n == 0) return;
    if (n < 0) uv_close((uv_handle_t *)stream, free_handle);
    if (--left == 0) uv_stop(&loop);
}

static void fill_pipes(uint64_t count) {
    open_pairs(left = count);
    for (uint64_t i = 0; i < count; i++) {
        uv_pipe_t *pipe = malloc(sizeof *pipe + USERS);
        uv_pipe_init(&loop, pipe, 0);
        check(uv_pipe_open(pipe, ours[i]) == 0, "uv_pipe_open");
        uv_read_start((uv_stream_t *)pipe, give_buffer, on_burst_read);
    }
    run_until_stopped();
    left = count;
}

static void drain_pipes(void) {
    close_theirs();
    run_until_stopped();
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void kept(uint64_t operations, const uint64_t *parameters) {
    static const struct burst BURSTS[] = {
        {fill_timers, run_until_stopped},
        {fill_posts, run_until_stopped},
        {fill_polls, drain_polls},
        {fill_pipes, drain_pipes},
    };
    open_loop();
    uv_async_init(&loop, &burst_posted, on_burst_posted);
    measure_kept(operations, BURSTS[parameters[0]], idle_a_second);
}
