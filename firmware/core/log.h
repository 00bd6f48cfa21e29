/* Log lines on the console. Dropped and counted when the console has no room or nobody listens: logging never waits. */
#ifndef CODECRIG_LOG_H
#define CODECRIG_LOG_H

#include <stdint.h>

typedef enum log_level { LOG_OFF, LOG_ERROR, LOG_INFO, LOG_DEBUG } log_level_t;

/* A request that was answered with a status other than OK. Level: error. */
void log_request(uint8_t operation, uint32_t address, uint32_t length, uint8_t status);

/* One line, level as given. */
void log_line(log_level_t level, const char *text);

#endif
