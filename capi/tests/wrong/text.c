/* says: read-only */
#include "ioloop.h"

void change(void);

void change(void) {
#ifdef RIGHT
    (void)ioloop_error()[0];
#else
    ioloop_error()[0] = 'x';
#endif
}
