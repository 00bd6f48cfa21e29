/* The console on the CDC interface. */
#include <stdio.h>
#include <string.h>

#include "rig.h"

#define OUT 3
#define IN 3

static void open_console(void) {
  uint8_t coding[7] = {0x00, 0xC2, 0x01, 0x00, 0, 0, 8};
  CHECK_EQUAL(host_control((control_t){0x21, 0x20, 0, 1, 7}, coding), 7);  /* SET_LINE_CODING */
  CHECK_EQUAL(host_control((control_t){0x21, 0x22, 3, 1, 0}, NULL), 0);    /* DTR, RTS */
}

static void type(const char *text) { CHECK_EQUAL(host_out(OUT, (const uint8_t *)text, strlen(text), 64, 10000), strlen(text)); }

/* Everything that the console has to say now. */
static const char *answer(void) {
  static char text[4096];
  size_t bytes = 0;
  uint16_t got = 0;
  while (native_usb_in(IN, (uint8_t *)text + bytes, 64, &got) == NATIVE_ACK) {
    bytes += got;
    rig_settle();
    CHECK(bytes + 64 < sizeof text);
  }
  text[bytes] = '\0';
  return text;
}

static void check_answer(const char *typed, const char *expected) {
  type(typed);
  const char *found = answer();
  if (strcmp(found, expected) != 0) {
    rig_fail(__FILE__, __LINE__, "typed '%s': expected '%s', found '%s'", typed, expected, found);
  }
}

TEST(console_help) {
  rig_start();
  open_console();
  type("help\r");
  const char *text = answer();
  CHECK(strstr(text, "help ") == text);
  CHECK(strstr(text, "\r\nversion ") != NULL);
  CHECK(strstr(text, "\r\ncounters ") != NULL);
  CHECK(strstr(text, "\r\nlog LEVEL ") != NULL);
}

TEST(console_version) {
  rig_start();
  open_console();
  char expected[120];
  (void)snprintf(expected, sizeof expected, "codecrig wire 1.0.0 firmware %08x serial 0123456789ABCDEF fpga ready\r\n",
                 CODECRIG_BUILD);
  check_answer("version\r", expected);
  rig.fpga_done = false;
  type("version\r");
  CHECK(strstr(answer(), "fpga not configured\r\n") != NULL);
}

TEST(console_counters) {
  rig_start();
  open_console();
  wire_expect_alive();
  reply_t reply;
  wire_exchange(OPERATION_READ, 0x90000000, 4, NULL, &reply);
  check_answer("counters\n",
               "requests 3\r\nerrors 1\r\nbad_headers 0\r\ntruncated 0\r\nno_replies 0\r\nrx_high_water 16 bytes\r\n"
               "tx_high_water 16 bytes\r\nresets 2\r\nlog_dropped 0 lines\r\n");
}

TEST(console_unknown_command) {
  rig_start();
  open_console();
  check_answer("reboot now\r", "error: unknown command 'reboot'; try help\r\n");
  check_answer("hel\r", "error: unknown command 'hel'; try help\r\n");
  check_answer("help me\r", "error: help takes no argument, not 'me'\r\n");
  check_answer("log loud\r", "error: log wants off, error, info or debug, not 'loud'\r\n");
  check_answer("log\r", "error: log wants off, error, info or debug, not ''\r\n");
}

TEST(console_lines) {
  rig_start();
  open_console();
  check_answer("\r\n\r\n  \r", "");
  check_answer("  log   off  \r\n", "log off\r\n");
  check_answer("lo", "");
  check_answer("g of", "");
  check_answer("f\n", "log off\r\n");
  check_answer("log off\rlog error\rxx\r", "log off\r\nlog error\r\nerror: unknown command 'xx'; try help\r\n");
  char line[100];
  memset(line, 'a', 80);
  strcpy(line + 80, "\r");
  type(line);
  CHECK(strncmp(answer(), "error: unknown command 'aaaa", 28) == 0);
  memset(line, 'a', 81);
  strcpy(line + 81, "\r");
  check_answer(line, "error: line longer than 80 characters\r\n");
  check_answer("log off\r", "log off\r\n");
  check_answer("\x1b[A\x80\xff\r", "error: unknown command '?[A?" "?'; try help\r\n");
}

/* Many commands in one go, and nobody fetching: nothing is lost, the console takes no more input until somebody reads. */
TEST(console_back_pressure) {
  rig_start();
  open_console();
  char all[1200] = "";
  for (int i = 0; i < 60; i++) {
    strcat(all, "version\r");
  }
  const size_t length = strlen(all);
  size_t sent = host_out(OUT, (const uint8_t *)all, length, 64, 1000);
  CHECK(sent < length);
  size_t lines = 0;
  for (int i = 0; i < 200; i++) {
    for (const char *at = answer(); (at = strstr(at, "fpga ready\r\n")) != NULL; at++) {
      lines++;
    }
    sent += host_out(OUT, (const uint8_t *)all + sent, length - sent, 64, 0);
  }
  CHECK_EQUAL(sent, length);
  CHECK_EQUAL(lines, 60);
  wire_expect_alive();
}

TEST(console_log) {
  rig_start();
  open_console();
  reply_t reply;
  wire_exchange(OPERATION_READ, 0x90000000, 4, NULL, &reply);
  check_answer("log error\r", "log error\r\n"); /* off at power-up */
  wire_exchange(OPERATION_READ, 0x90000000, 4, NULL, &reply);
  check_answer("", "log error: operation 0x21 address 0x90000000 length 4 answered with status 4\r\n");
  wire_expect_alive();
  check_answer("log off\r", "log off\r\n");
  wire_exchange(OPERATION_READ, 0x90000000, 4, NULL, &reply);
  check_answer("", "");
}

/* Nobody reads: log lines are dropped whole and counted, and the link does not notice. */
TEST(console_log_never_waits) {
  rig_start();
  open_console();
  check_answer("log debug\r", "log debug\r\n");
  reply_t reply;
  for (int i = 0; i < 100; i++) {
    wire_exchange(OPERATION_READ, 0x90000000, 4, NULL, &reply);
  }
  unsigned lines = 0;
  for (const char *at = answer(); (at = strstr(at, "answered with status 4\r\n")) != NULL; at++) {
    lines++;
  }
  CHECK(lines > 5 && lines < 100);
  type("counters\r");
  char expected[40];
  (void)snprintf(expected, sizeof expected, "log_dropped %u lines\r\n", 100 - lines);
  CHECK(strstr(answer(), expected) != NULL);
}

TEST(console_survives_clear_halt) {
  rig_start();
  open_console();
  check_answer("log off\r", "log off\r\n");
  CHECK_EQUAL(host_control((control_t){0x02, 1, 0, 0x03, 0}, NULL), 0);
  CHECK_EQUAL(host_control((control_t){0x02, 1, 0, 0x83, 0}, NULL), 0);
  check_answer("log off\r", "log off\r\n");
  CHECK_EQUAL(host_control((control_t){0x02, 3, 0, 0x03, 0}, NULL), 0); /* halt for real */
  CHECK_EQUAL(host_out(OUT, (const uint8_t *)"x", 1, 64, 0), 0);
  CHECK_EQUAL(host_control((control_t){0x02, 1, 0, 0x03, 0}, NULL), 0);
  check_answer("log off\r", "log off\r\n");
  type("version\r"); /* an answer is queued when IN halts */
  CHECK_EQUAL(host_control((control_t){0x02, 1, 0, 0x83, 0}, NULL), 0);
  (void)answer();
  check_answer("log off\r", "log off\r\n");
}

/* Console traffic is no reason for time to flow. */
TEST(console_is_not_busy) {
  rig_start();
  open_console();
  type("help\r");
  CHECK(!native_busy());
  CHECK_EQUAL(native_deadline_us(), UINT64_MAX);
}
