/* says: incompatible type */
#include "ioloop.h"

#include <unistd.h>

int end(int fd, ioloop_id watch);

int end(int fd, ioloop_id watch) {
#ifdef RIGHT
    (void)watch;
    return close(fd);
#else
    (void)fd;
    return close(watch);
#endif
}
