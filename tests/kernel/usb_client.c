/* A client of a codecrig board in C over libusb, written from docs/wire.md and docs/registers.md alone: it shares no line with
 * the rig's own. Prints PASS or FAIL for each step, and a last line "RESULT ...".
 */
#include <libusb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR_ID 0x1209
#define PRODUCT_ID 0x0001
#define PACKET 64u
#define TIMEOUT_MS 20000u /* the board is simulated, the machine below as well */

enum { READ = 0x21, WRITE = 0x42, WAIT = 0x03 };

static libusb_device_handle *device;
static int interface_number = -1;
static unsigned char endpoint_out, endpoint_in;
static uint16_t next_sequence = 1;
static int failures;

static void check(const char *what, int good) {
  printf("%s %s\n", good ? "PASS" : "FAIL", what);
  failures += !good;
}

static void put32(uint8_t *to, uint32_t value) {
  for (int i = 0; i < 4; i++) {
    to[i] = (uint8_t)(value >> (8 * i));
  }
}

static uint32_t get32(const uint8_t *from) {
  return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* ---- requests and replies ---- */

/* One request, one reply. Returns the reply's status, or -1 if it is not the answer to this request. */
static int exchange(uint8_t operation, uint32_t address, uint16_t length, const uint8_t *payload, uint8_t *answer) {
  static uint8_t out[12 + 4096 + PACKET], in[12 + 4096 + 2 * PACKET];
  const uint16_t sequence = next_sequence++;
  memset(out, 0, sizeof out);
  out[0] = 0xA5;
  out[1] = operation;
  out[2] = (uint8_t)sequence;
  out[3] = (uint8_t)(sequence >> 8);
  put32(out + 4, address);
  out[8] = (uint8_t)length;
  out[9] = (uint8_t)(length >> 8);
  out[11] = 0xFF;
  for (int i = 0; i < 11; i++) {
    out[11] ^= out[i];
  }
  unsigned bytes = 12;
  if (operation & 0x40) {
    memcpy(out + 12, payload, length);
    bytes += length;
  }
  bytes = (bytes + PACKET - 1) / PACKET * PACKET; /* whole packets, filled with zeros */
  int moved = 0;
  if (libusb_bulk_transfer(device, endpoint_out, out, (int)bytes, &moved, TIMEOUT_MS) != 0 || moved != (int)bytes) {
    return -1;
  }
  const unsigned expected = 12u + (operation & 0x20 ? length : 0u);
  unsigned got = 0;
  while (got < 12 || got < 12u + (in[8] | in[9] << 8)) { /* a zero-length transfer may come at any time */
    const unsigned room = (expected + PACKET - 1) / PACKET * PACKET;
    if (libusb_bulk_transfer(device, endpoint_in, in + got, (int)room, &moved, TIMEOUT_MS) != 0) {
      return -1;
    }
    got += (unsigned)moved;
  }
  uint8_t fold = 0;
  for (int i = 0; i < 12; i++) {
    fold ^= in[i];
  }
  if (in[0] != 0xA5 || fold != 0xFF || in[1] != (operation | 0x80) || memcmp(in + 2, out + 2, 6) != 0) {
    return -1;
  }
  if (in[10] == 0 && (operation & 0x20)) {
    memcpy(answer, in + 12, length);
  }
  return in[10];
}

static uint32_t read_register(uint32_t address) {
  uint8_t word[4] = {0};
  if (exchange(READ, address, 4, NULL, word) != 0) {
    printf("FAIL read of %08x\n", (unsigned)address);
    failures++;
  }
  return get32(word);
}

static void write_register(uint32_t address, uint32_t value) {
  uint8_t word[4];
  put32(word, value);
  if (exchange(WRITE, address, 4, word, NULL) != 0) {
    printf("FAIL write of %08x\n", (unsigned)address);
    failures++;
  }
}

static int write_memory(uint32_t address, const uint8_t *data, unsigned length) {
  for (unsigned at = 0; at < length; at += 4096) {
    const unsigned piece = length - at < 4096 ? length - at : 4096;
    if (exchange(WRITE, address + at, (uint16_t)piece, data + at, NULL) != 0) {
      return 0;
    }
  }
  return 1;
}

static int read_memory(uint32_t address, uint8_t *data, unsigned length) {
  for (unsigned at = 0; at < length; at += 4096) {
    const unsigned piece = length - at < 4096 ? length - at : 4096;
    if (exchange(READ, address + at, (uint16_t)piece, NULL, data + at) != 0) {
      return 0;
    }
  }
  return 1;
}

/* ---- finding the board ---- */

static int find_interface(void) {
  struct libusb_config_descriptor *config = NULL;
  if (libusb_get_active_config_descriptor(libusb_get_device(device), &config) != 0) {
    return 0;
  }
  for (int i = 0; i < config->bNumInterfaces; i++) {
    const struct libusb_interface_descriptor *each = &config->interface[i].altsetting[0];
    if (each->bInterfaceClass != 0xFF || each->bInterfaceSubClass != 0x43 || each->bInterfaceProtocol != 0x52) {
      continue;
    }
    interface_number = each->bInterfaceNumber;
    for (int k = 0; k < each->bNumEndpoints; k++) {
      const unsigned char address = each->endpoint[k].bEndpointAddress;
      if (address & 0x80) {
        endpoint_in = address;
      } else {
        endpoint_out = address;
      }
    }
  }
  libusb_free_config_descriptor(config);
  return interface_number >= 0 && endpoint_in != 0 && endpoint_out != 0;
}

/* ---- audio ---- */

#define FRAMES 4800u /* 0.1 s */
#define BLOCK 4u     /* 16 bit, two channels */
#define BUFFER (FRAMES * BLOCK)
#define RENDER_BUFFER 0x00000u
#define CAPTURE_BUFFER 0x08000u
#define DESCRIPTORS 0x10000u

#define FPGA 0x40000000u
#define EVENT_PRODUCER (FPGA + 0x030)
#define EVENT_CONSUMER (FPGA + 0x034)
#define CONVERTER_CONTROL (FPGA + 0x050)
#define TIME_LO (FPGA + 0x014)
#define STREAM(n) (FPGA + 0x1000 + 0x100 * (n))
#define EVENT_RING (FPGA + 0x8000)

static void start_stream(unsigned stream, uint32_t buffer, uint32_t format) {
  uint8_t descriptor[16];
  const uint32_t base = DESCRIPTORS + 16 * stream;
  put32(descriptor, buffer);
  put32(descriptor + 4, BUFFER);
  put32(descriptor + 8, 0xC0DE0000u + stream);
  put32(descriptor + 12, 1 | 8); /* post an event; the stream ends here */
  check("descriptor written", write_memory(base, descriptor, sizeof descriptor));
  write_register(STREAM(stream) + 0x04, format);
  write_register(STREAM(stream) + 0x08, base);
  write_register(STREAM(stream) + 0x0C, 1);
  write_register(STREAM(stream) + 0x14, 1); /* DESCRIPTOR posts a record */
  write_register(STREAM(stream) + 0x00, 3); /* RUN */
}

/* Plays a buffer and captures it through the digital loopback: it comes back whole, one frame later. */
static void stream_loopback(void) {
  static uint8_t played[BUFFER], captured[BUFFER];
  for (unsigned i = 0; i < BUFFER; i++) {
    played[i] = (uint8_t)(i * 37u + (i >> 8) * 11u + 1u);
  }
  check("buffer written", write_memory(RENDER_BUFFER, played, BUFFER));
  write_register(EVENT_CONSUMER, read_register(EVENT_PRODUCER));
  const uint32_t first_event = read_register(EVENT_PRODUCER);
  start_stream(1, CAPTURE_BUFFER, 0x15);
  start_stream(0, RENDER_BUFFER, 0x14);
  write_register(CONVERTER_CONTROL, 0x11); /* on, digital loopback */
  int capture_done = 0;
  uint32_t consumed = first_event;
  for (int tries = 0; tries < 50 && !capture_done; tries++) {
    if (exchange(WAIT, read_register(TIME_LO) + 1228800u, 0, NULL, NULL) != 0) { /* 0.1 s */
      break;
    }
    while (consumed != read_register(EVENT_PRODUCER)) {
      uint8_t record[32];
      if (exchange(READ, EVENT_RING + 32 * (consumed % 64), 32, NULL, record) != 0 || get32(record + 4) != consumed) {
        check("event record in its slot", 0);
        return;
      }
      consumed++;
      capture_done |= record[0] == 0 && record[1] == 1 && get32(record + 20) == 0xC0DE0001u;
      write_register(STREAM(record[1]) + 0x10, 1); /* clear the cause */
      write_register(EVENT_CONSUMER, consumed);
    }
  }
  check("capture buffer filled, with its event", capture_done);
  write_register(STREAM(0), 0);
  write_register(STREAM(1), 0);
  write_register(CONVERTER_CONTROL, 0);
  check("capture read", read_memory(CAPTURE_BUFFER, captured, BUFFER));
  check("first captured frame is silence", memcmp(captured, "\0\0\0\0", BLOCK) == 0);
  check("stream came back whole", memcmp(captured + BLOCK, played, BUFFER - BLOCK) == 0);
}

static void memory_loopback(void) {
  static uint8_t written[0x20000], back[0x20000];
  for (unsigned i = 0; i < sizeof written; i++) {
    written[i] = (uint8_t)(i ^ (i >> 7) ^ 0x5Au);
  }
  check("audio memory written, 128 KiB", write_memory(0, written, sizeof written));
  check("audio memory read", read_memory(0, back, sizeof back));
  check("audio memory is as written", memcmp(written, back, sizeof back) == 0);
}

int main(void) {
  libusb_init(NULL);
  device = libusb_open_device_with_vid_pid(NULL, VENDOR_ID, PRODUCT_ID);
  check("open", device != NULL);
  if (device == NULL) {
    printf("RESULT FAIL\n");
    return 1;
  }
  libusb_set_auto_detach_kernel_driver(device, 1);
  struct libusb_device_descriptor descriptor;
  unsigned char text[64] = "";
  libusb_get_device_descriptor(libusb_get_device(device), &descriptor);
  libusb_get_string_descriptor_ascii(device, descriptor.iProduct, text, sizeof text);
  check("product string", strncmp((char *)text, "codecrig ", 9) == 0);
  check("vendor interface with two endpoints", find_interface());
  check("claim", libusb_claim_interface(device, interface_number) == 0);

  const uint16_t index = (uint16_t)interface_number;
  check("RESET", libusb_control_transfer(device, 0x41, 0x01, 0, index, NULL, 0, TIMEOUT_MS) == 0);
  uint8_t identity[16] = {0};
  check("IDENTITY", libusb_control_transfer(device, 0xC1, 0x02, 0, index, identity, 16, TIMEOUT_MS) == 16 &&
                        memcmp(identity, "CRIG", 4) == 0 && identity[7] == 1);
  check("unknown vendor request stalls",
        libusb_control_transfer(device, 0xC1, 0x77, 0, index, identity, 16, TIMEOUT_MS) == LIBUSB_ERROR_PIPE);
  uint8_t set[178];
  check("Microsoft OS 2.0 set", libusb_control_transfer(device, 0xC0, 0x20, 0, 7, set, 178, TIMEOUT_MS) == 178 &&
                                    memcmp(set + 30, "WINUSB", 6) == 0);
  check("BRIDGE_ID", read_register(0xF0000000u) == 0x43524252u);
  check("FPGA_ID", read_register(FPGA) == 0x43524947u);
  check("unmapped address", exchange(READ, 0x90000000u, 4, NULL, set) == 4);
  memory_loopback();
  stream_loopback();
  int moved = 0;
  check("a read with nothing to come times out",
        libusb_bulk_transfer(device, endpoint_in, set, 64, &moved, 300) == LIBUSB_ERROR_TIMEOUT);
  check("clear halt", libusb_clear_halt(device, endpoint_in) == 0);
  check("RESET again", libusb_control_transfer(device, 0x41, 0x01, 0, index, NULL, 0, TIMEOUT_MS) == 0);
  check("FPGA_ID again", read_register(FPGA) == 0x43524947u);
  check("bus reset", libusb_reset_device(device) == 0);
  check("FPGA_ID behind it", read_register(FPGA) == 0x43524947u);
  libusb_release_interface(device, interface_number);
  libusb_close(device);
  libusb_exit(NULL);
  printf("RESULT %s\n", failures ? "FAIL" : "PASS");
  return failures != 0;
}
