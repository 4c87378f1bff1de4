// libcurl on libevent, as in libcurl's example hiperfifo.c: an event a socket, and a timer.

#include "curl.h"
#include <event2/event.h>

static struct event_base *base;
static struct event *timer;

static void act(curl_socket_t socket, int flags) {
    int still;
    curl_multi_socket_action(multi, socket, flags, &still);
    reap();
    if (running == 0) event_base_loopbreak(base);
}

static void on_timer(evutil_socket_t socket, short what, void *unused) {
    (void)socket, (void)what, (void)unused;
    act(CURL_SOCKET_TIMEOUT, 0);
}

static int on_timeout(CURLM *multi, long milliseconds, void *unused) {
    (void)multi, (void)unused;
    if (milliseconds < 0) return evtimer_del(timer);
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};
    return evtimer_add(timer, &time);
}

static void on_ready(evutil_socket_t socket, short what, void *unused) {
    (void)unused;
    act(socket, (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *unused, void *known) {
    (void)easy, (void)unused;
    struct event *event = known;
    if (what == CURL_POLL_REMOVE) {
        if (event != NULL) event_free(event);
        return curl_multi_assign(multi, socket, NULL);
    }
    short events = EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);
    if (event == NULL) {
        event = event_new(base, socket, events, on_ready, NULL);
        curl_multi_assign(multi, socket, event);
    } else {
        event_del(event);
        event_assign(event, base, socket, events, on_ready, NULL);
    }
    return event_add(event, NULL);
}

static void open_loop(void) {
    base = event_base_new();
    timer = evtimer_new(base, on_timer, NULL);
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timeout);
}

static void run_loop(void) {
    if (running > 0) event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY);
}

static const char *version(void) { return event_get_version(); }
