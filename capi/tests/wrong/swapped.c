/* says: incompatible type */
#include "ioloop.h"

int end(ioloop loop, ioloop_id timer);

int end(ioloop loop, ioloop_id timer) {
#ifdef RIGHT
    return ioloop_remove(loop, timer);
#else
    return ioloop_remove(timer, loop);
#endif
}
