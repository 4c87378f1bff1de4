/* What the library says: its version, texts, times, and reports. */
#include "check.h"

static void the_versions_of_header_and_library(void) {
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", IOLOOP_VERSION_MAJOR, IOLOOP_VERSION_MINOR,
             IOLOOP_VERSION_PATCH);
    CHECK(strcmp(version, IOLOOP_VERSION_STRING) == 0);
    CHECK(strcmp(version, ioloop_version_string()) == 0);
    CHECK(ioloop_version() == IOLOOP_VERSION);
#if IOLOOP_VERSION < IOLOOP_VERSION_OF(0, 1, 0) || IOLOOP_VERSION >= IOLOOP_VERSION_OF(255, 0, 0)
#error "the preprocessor compares them"
#endif
}

static void each_status_has_a_text_of_its_own(void) {
    for (int status = IOLOOP_OK; status <= IOLOOP_BUG; status++) {
        const char *text = ioloop_status_text(status);
        CHECK(strlen(text) > 0);
        for (int other = IOLOOP_OK; other < status; other++)
            CHECK(strcmp(text, ioloop_status_text(other)) != 0);
    }
    const char *unknown = ioloop_status_text(IOLOOP_BUG + 1);
    CHECK(strlen(unknown) > 0 && strcmp(unknown, ioloop_status_text(-1)) == 0);
}

static void the_words_for_a_refusal_stay_until_the_next(void) {
    char first[200];
    ioloop loop = {0};
    CHECK(strlen(ioloop_error()) == 0);
    REFUSED(IOLOOP_CLOSED, ioloop_run(loop));
    snprintf(first, sizeof first, "%s", ioloop_error());
    loop = new_loop();
    turn(loop);
    CHECK(strcmp(first, ioloop_error()) == 0);
    REFUSED(IOLOOP_INVALID, ioloop_descriptor(loop, NULL));
    CHECK(strcmp(first, ioloop_error()) != 0 && strstr(ioloop_error(), "NULL") != NULL);
    OK(ioloop_close(loop));
}

static void the_time_never_goes_back(void) {
    uint64_t last = ioloop_now();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = ioloop_now();
        CHECK(now >= last);
        last = now;
    }
}

struct reports {
    struct item item;
    char last[200];
};

static void keep(ioloop loop, const char *text, void *data) {
    struct reports *reports = data;
    count(loop, &reports->item);
    snprintf(reports->last, sizeof reports->last, "%s", text);
}

static void take_long(ioloop loop, void *data) {
    uint64_t until = ioloop_now() + 2 * IOLOOP_MILLISECOND;
    (void)loop;
    (void)data;
    while (ioloop_now() < until)
        continue;
}

static void slow_callbacks_and_watches_that_spin_are_reported(void) {
    ioloop loop = new_loop();
    struct reports reports = {.item = {0, 0}}, others = {.item = {0, 0}};
    struct item item = {0};
    int fds[2];
    pair(fds);
    OK(ioloop_report(loop, keep, &reports, dispose));
    OK(ioloop_post(loop, take_long, NULL, NULL));
    turn(loop);
    CHECK(is(reports.item, 0, 0));
    OK(ioloop_report_slow(loop, 2 * IOLOOP_MILLISECOND));
    OK(ioloop_post(loop, take_long, NULL, NULL));
    turn(loop);
    CHECK(is(reports.item, 1, 0) && strstr(reports.last, "held the loop up") != NULL);
    CHECK(strstr(reports.last, ".rs") == NULL); /* That is no place in the program. */
    OK(ioloop_report_slow(loop, 0));

    OK(ioloop_report_spin(loop, 3));
    CHECK(write(fds[1], "x", 1) == 1);
    OK(ioloop_watch(loop, fds[0], IOLOOP_READ, count_ready, &item, NULL, NULL));
    for (int i = 0; i < 4; i++)
        turn(loop);
    CHECK(is(reports.item, 2, 0) && strstr(reports.last, "without progress") != NULL);

    OK(ioloop_report(loop, keep, &others, dispose));
    CHECK(is(reports.item, 2, 1));
    for (int i = 0; i < 4; i++)
        turn(loop);
    CHECK(is(reports.item, 2, 1) && others.item.called > 0);
    int heard = others.item.called;
    OK(ioloop_report(loop, NULL, NULL, NULL));
    for (int i = 0; i < 4; i++)
        turn(loop);
    CHECK(is(others.item, heard, 1));
    OK(ioloop_close(loop));
    close_pair(fds);
}

int main(void) {
    int before = next_descriptor();
    the_versions_of_header_and_library();
    the_words_for_a_refusal_stay_until_the_next();
    each_status_has_a_text_of_its_own();
    the_time_never_goes_back();
    slow_callbacks_and_watches_that_spin_are_reported();
    CHECK(next_descriptor() == before);
    return 0;
}
