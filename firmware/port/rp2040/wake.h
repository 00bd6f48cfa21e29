/* What ends the main loop's sleep. */
#ifndef CODECRIG_WAKE_H
#define CODECRIG_WAKE_H

#include <stdbool.h>

/* Set by interrupts that may give the main loop something to do. */
extern volatile bool port_woken;

#endif
