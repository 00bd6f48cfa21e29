/* See console.h and log.h. */
#include "console.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "bridge.h"
#include "codecrig_regs.h"
#include "log.h"
#include "port.h"
#include "tusb.h"

#define LINE_BYTES 80u

static struct {
  char line[LINE_BYTES + 1u]; /* typed so far */
  uint32_t line_bytes;
  bool too_long;
  log_level_t level;
  uint32_t log_dropped; /* lines */
  bool due;             /* console_task may have something to do */
} console;

static const char *const level_names[] = {"off", "error", "info", "debug"};
#define LEVELS (sizeof level_names / sizeof level_names[0])

/* Whole lines or nothing: half a line would only mislead. */
static bool print(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool print(const char *format, ...) {
  char text[160];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(text, sizeof text - 2u, format, arguments);
  va_end(arguments);
  if (length < 0) {
    return false;
  }
  uint32_t bytes = (uint32_t)length < sizeof text - 3u ? (uint32_t)length : (uint32_t)sizeof text - 3u;
  text[bytes++] = '\r';
  text[bytes++] = '\n';
  if (tud_cdc_write_available() < bytes) {
    return false;
  }
  console.due = true;
  return tud_cdc_write(text, bytes) == bytes;
}

/* ---------------------------------------------------------------- log */

void log_line(log_level_t level, const char *text) {
  if (level == LOG_OFF || level > console.level) {
    return;
  }
  if (!tud_cdc_connected() || !print("log %s: %s", level_names[level], text)) {
    console.log_dropped++;
  }
}

void log_request(uint8_t operation, uint32_t address, uint32_t length, uint8_t status) {
  char text[80];
  if (console.level < LOG_ERROR) {
    return;
  }
  (void)snprintf(text, sizeof text, "operation 0x%02X address 0x%08" PRIX32 " length %" PRIu32 " answered with status %u",
                 operation, address, length, status);
  log_line(LOG_ERROR, text);
}

/* ---------------------------------------------------------------- commands */

static void command_help(const char *argument) {
  (void)argument;
  (void)print("help              this list");
  (void)print("version           wire version, firmware id, serial number");
  (void)print("counters          link counters since power-up");
  (void)print("log LEVEL         off, error, info or debug");
}

static void command_version(const char *argument) {
  (void)argument;
  const uint32_t version = bridge_wire_version();
  (void)print("codecrig wire %" PRIu32 ".%" PRIu32 ".%" PRIu32 " firmware %08" PRIx32 " serial %08" PRIX32 "%08" PRIX32 " fpga %s",
              version >> BRIDGE_VERSION_MAJOR_LSB, (version >> BRIDGE_VERSION_MINOR_LSB) & 0xFFu, version & 0xFFu,
              bridge_build(), (uint32_t)(port_serial() >> 32), (uint32_t)port_serial(), port_fpga_done() ? "ready" : "not configured");
}

static void command_counters(const char *argument) {
  (void)argument;
  const bridge_counters_t *counters = bridge_counters();
  (void)print("requests %" PRIu32, counters->requests);
  (void)print("errors %" PRIu32, counters->errors);
  (void)print("bad_headers %" PRIu32, counters->bad_headers);
  (void)print("truncated %" PRIu32, counters->truncated);
  (void)print("no_replies %" PRIu32, counters->no_replies);
  (void)print("rx_high_water %" PRIu32 " bytes", counters->rx_high_water);
  (void)print("tx_high_water %" PRIu32 " bytes", counters->tx_high_water);
  (void)print("resets %" PRIu32, counters->resets);
  (void)print("log_dropped %" PRIu32 " lines", console.log_dropped);
}

static void command_log(const char *argument) {
  for (uint32_t level = 0; level < LEVELS; level++) {
    if (strcmp(argument, level_names[level]) == 0) {
      console.level = (log_level_t)level;
      (void)print("log %s", level_names[level]);
      return;
    }
  }
  (void)print("error: log wants off, error, info or debug, not '%s'", argument);
}

static const struct {
  const char *name;
  bool takes_argument;
  void (*run)(const char *argument);
} commands[] = {
    {"help", false, command_help},
    {"version", false, command_version},
    {"counters", false, command_counters},
    {"log", true, command_log},
};

static void execute(char *line) {
  char *name = line + strspn(line, " ");
  char *argument = name + strcspn(name, " ");
  if (*argument != '\0') {
    *argument++ = '\0';
    argument += strspn(argument, " ");
  }
  for (char *end = argument + strlen(argument); end > argument && end[-1] == ' ';) {
    *--end = '\0';
  }
  if (*name == '\0') {
    return;
  }
  for (uint32_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
    if (strcmp(name, commands[i].name) == 0) {
      if (!commands[i].takes_argument && *argument != '\0') {
        (void)print("error: %s takes no argument, not '%s'", name, argument);
      } else {
        commands[i].run(argument);
      }
      return;
    }
  }
  (void)print("error: unknown command '%s'; try help", name);
}

/* ---------------------------------------------------------------- lines */

static void take_character(char character) {
  if (character != '\r' && character != '\n') {
    if (console.line_bytes < LINE_BYTES) {
      console.line[console.line_bytes++] = (char)((character >= ' ' && character <= '~') ? character : '?');
    } else {
      console.too_long = true;
    }
    return;
  }
  console.line[console.line_bytes] = '\0';
  if (console.too_long) {
    (void)print("error: line longer than %u characters", LINE_BYTES);
  } else {
    execute(console.line);
  }
  console.line_bytes = 0;
  console.too_long = false;
}

bool console_task(void) {
  bool worked = false;
  char character;
  /* Commands wait in the input while the longest answer has no room: the answer would be lost. */
  while (tud_cdc_available() > 0 && tud_cdc_write_available() >= CFG_TUD_CDC_TX_BUFSIZE / 2) {
    if (tud_cdc_read(&character, 1) == 1) {
      take_character(character);
    }
    worked = true;
  }
  if (tud_cdc_write_flush() > 0) {
    worked = true;
  }
  console.due = worked;
  return worked;
}

bool console_due(void) { return console.due; }

void console_init(void) { memset(&console, 0, sizeof console); }
