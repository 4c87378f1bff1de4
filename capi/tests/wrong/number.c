/* says: incompatible type */
#include "ioloop.h"

int run(ioloop loop);

int run(ioloop loop) {
#ifdef RIGHT
    return ioloop_run(loop);
#else
    return ioloop_run(loop.number);
#endif
}
