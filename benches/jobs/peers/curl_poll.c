// libcurl's own loop: `curl_multi_poll`.

#include "curl.h"

static void open_loop(void) {}

static void run_loop(void) {
    int still;
    while (running > 0) {
        check(curl_multi_perform(multi, &still) == CURLM_OK, "curl_multi_perform");
        reap();
        if (running > 0) check(curl_multi_poll(multi, NULL, 0, 1000, NULL) == CURLM_OK, "curl_multi_poll");
    }
}

static const char *version(void) { return LIBCURL_VERSION; }
