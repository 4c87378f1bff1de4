/* says: incompatible */
#include "ioloop.h"

#ifdef RIGHT
void due(ioloop loop, void *data);
#else
void due(ioloop loop, int fd, unsigned events, void *data);
#endif

int set(ioloop loop);

int set(ioloop loop) { return ioloop_timer(loop, 0, 0, due, 0, 0, 0); }
