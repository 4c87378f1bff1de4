// libcurl on libuv, as in libcurl's example multi-uv.c: a `uv_poll_t` a socket, and a timer.

#include "curl.h"
#include <uv.h>

static uv_loop_t loop;
static uv_timer_t timer;

static void act(curl_socket_t socket, int flags) {
    int still;
    curl_multi_socket_action(multi, socket, flags, &still);
    reap();
    if (running == 0) uv_stop(&loop);
}

static void on_timer(uv_timer_t *handle) {
    (void)handle;
    act(CURL_SOCKET_TIMEOUT, 0);
}

static int on_timeout(CURLM *multi, long milliseconds, void *unused) {
    (void)multi, (void)unused;
    if (milliseconds < 0) return uv_timer_stop(&timer);
    return uv_timer_start(&timer, on_timer, (uint64_t)milliseconds, 0);
}

struct watched {
    uv_poll_t poll;
    curl_socket_t socket;
};

static void on_ready(uv_poll_t *poll, int status, int events) {
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE) flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE) flags |= CURL_CSELECT_OUT;
    act(((struct watched *)poll)->socket, flags);
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *unused, void *known) {
    (void)easy, (void)unused;
    struct watched *watched = known;
    if (what == CURL_POLL_REMOVE) {
        if (watched == NULL) return 0;
        uv_poll_stop(&watched->poll);
        uv_close((uv_handle_t *)&watched->poll, (uv_close_cb)free);
        return curl_multi_assign(multi, socket, NULL);
    }
    if (watched == NULL) {
        watched = calloc(1, sizeof *watched);
        watched->socket = socket;
        check(uv_poll_init_socket(&loop, &watched->poll, socket) == 0, "uv_poll_init_socket");
        curl_multi_assign(multi, socket, watched);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&watched->poll, events, on_ready);
}

static void open_loop(void) {
    check(uv_loop_init(&loop) == 0, "uv_loop_init");
    check(uv_timer_init(&loop, &timer) == 0, "uv_timer_init");
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timeout);
}

static void run_loop(void) {
    if (running > 0) uv_run(&loop, UV_RUN_DEFAULT);
}

static const char *version(void) { return uv_version_string(); }
