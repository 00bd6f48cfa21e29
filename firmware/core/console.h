/* The console on the CDC interface: one command a line, one or more lines as answer. */
#ifndef CODECRIG_CONSOLE_H
#define CODECRIG_CONSOLE_H

#include <stdbool.h>

/* Forgets a line typed in part, and the log level. */
void console_init(void);

/* There is a line to send, or more to take. Otherwise console_task has something to do only behind an event of the USB stack. */
bool console_due(void);

/* Takes what was typed and answers complete lines. true if anything was done. */
bool console_task(void);

#endif
