// What the programs that download with libcurl share: the downloads, what they took, and the line that they print.
//
// A program is called with `downloads`, the requests of the warm-up and of the sample, the server's port, and how many
// are at once; or with `version`.

#include "job.h"
#include <curl/curl.h>

enum { MOST = 1 << 20 };

static CURLM *multi;
static uint64_t left, running;
static unsigned port;

struct download {
    uint64_t size, arrived;
};

static size_t on_body(char *data, size_t size, size_t count, void *download) {
    (void)data;
    ((struct download *)download)->arrived += size * count;
    return size * count;
}

/// The next one, if there is one left: a handle each, as the examples of libcurl have it.
static void begin(void) {
    if (left == 0) return;
    left--;
    running++;
    struct download *download = calloc(1, sizeof *download);
    download->size = below(MOST + 1);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/%u", port, (unsigned)download->size);
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, download);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, download);
    check(curl_multi_add_handle(multi, easy) == CURLM_OK, "curl_multi_add_handle");
}

/// Sees to those that have ended.
static void reap(void) {
    CURLMsg *message;
    int more;
    while ((message = curl_multi_info_read(multi, &more))) {
        if (message->msg != CURLMSG_DONE) continue;
        CURL *easy = message->easy_handle;
        struct download *download;
        check(message->data.result == CURLE_OK, "a download");
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &download);
        check(download->arrived == download->size, "a whole body");
        curl_multi_remove_handle(multi, easy);
        curl_easy_cleanup(easy);
        free(download);
        running--;
        begin();
    }
}

static void open_loop(void);
static void run_loop(void);
static const char *version(void);

int main(int argc, char **argv) {
    check(argc >= 2, "too few arguments");
    if (!strcmp(argv[1], "version")) {
        printf("%s\n", version());
        return 0;
    }
    check(argc >= 6, "too few arguments");
    uint64_t requests = strtoull(argv[3], NULL, 10), at_once = strtoull(argv[5], NULL, 10);
    port = (unsigned)strtoul(argv[4], NULL, 10);
    curl_global_init(CURL_GLOBAL_ALL);
    multi = curl_multi_init();
    open_loop();
    start();
    left = requests;
    for (uint64_t i = 0; i < at_once; i++) begin();
    run_loop();
    print_job(requests);
    return 0;
}
