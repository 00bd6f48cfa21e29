/* See bridge.h. The wire format and the order of its checks: docs/wire.md. */
#include "bridge.h"

#include <string.h>

#include "codecrig_regs.h"
#include "fpga_loader.h"
#include "log.h"
#include "port.h"

#ifndef CODECRIG_BUILD
#define CODECRIG_BUILD 0u /* first 32 bits of the hash of the sources; the build passes it in */
#endif

#define HEADER_BYTES REQUEST_HEADER_BYTES
#define MAX_LENGTH BRIDGE_MAX_LENGTH_RESET
#define START_BYTE 0xA5u
#define FILLER_BYTE 0x00u
#define OPERATION_CARRIES_PAYLOAD 0x40u
#define OPERATION_REPLY 0x80u

/* "Quiet": no byte arrived for so long. */
#define QUIET_US 100000u
/* The FPGA has so long to answer a READ or WRITE, or to deliver a WAIT's reply after attention rose. */
#define NO_REPLY_US 20000u
/* Filler bytes before a reply, at most. */
#define SPI_SLACK_BYTES 16u
/* 16 FPGA clocks of 12.288 MHz are 1.3 us. A difference of 3 in a microsecond counter is more than 2 us. */
#define SELECT_GAP_US 3u

/* The bridge's block of the address map: no register lies beyond, and 4 KiB is one largest request. */
#define BRIDGE_BLOCK_BYTES 0x1000u

/* Received requests. Holds seven of the largest WRITEs, so that USB keeps going while one is on SPI. */
#define RECEIVE_RING_BYTES 32768u
/* Replies. Exactly the window that clients are promised: a client that keeps it never blocks itself. */
#define REPLY_RING_BYTES BRIDGE_WINDOW_RESET
/* Largest SPI transfer: request header, slack, reply header, and one payload in either direction. */
#define SPI_BUFFER_BYTES (HEADER_BYTES + MAX_LENGTH + SPI_SLACK_BYTES + HEADER_BYTES)
/* A transfer is received so far behind the buffer's begin that its reply's place in a word will be that in the reply ring. */
#define SPI_LEAD_BYTES 3u
/* Largest record in the receive ring. */
#define MAX_RECORD_BYTES (4u + HEADER_BYTES + MAX_LENGTH)

_Static_assert((RECEIVE_RING_BYTES & (RECEIVE_RING_BYTES - 1u)) == 0, "ring indices wrap by mask");
_Static_assert((REPLY_RING_BYTES & (REPLY_RING_BYTES - 1u)) == 0, "ring indices wrap by mask");
_Static_assert(REPLY_RING_BYTES % 64u == 0, "full packets leave the reply ring in one piece");

/* A request waits in the receive ring as a prefix, its header and, for a WRITE, its payload. A record begins at a multiple of 4 and lies in one
 * piece, so that DMA can take it from there: what would wrap runs on behind the ring's end instead. */
typedef struct __attribute__((packed)) record_prefix {
  uint8_t status;   /* not OK: answer with it and do nothing else */
  uint8_t reserved;
  uint16_t payload_bytes;
} record_prefix_t;
_Static_assert(sizeof(record_prefix_t) == 4, "prefix is stored in the ring");
#define RECORD_BYTES ((uint32_t)sizeof(record_prefix_t) + HEADER_BYTES)
_Static_assert(RECORD_BYTES + MAX_LENGTH == MAX_RECORD_BYTES, "size of the receive ring's end");

typedef enum parser_state {
  PARSER_IDLE,    /* between requests: filler is skipped */
  PARSER_HEADER,  /* collecting 12 bytes */
  PARSER_PLACE,   /* a header is complete and waits for room in the ring */
  PARSER_PAYLOAD, /* storing; the room is reserved */
  PARSER_SKIP,    /* a refused request's payload */
  PARSER_DISCARD, /* until the link is quiet */
} parser_state_t;

typedef enum executor_state {
  EXECUTOR_IDLE,
  EXECUTOR_SPI,       /* DMA runs */
  EXECUTOR_ATTENTION, /* WAIT was sent, clock stopped */
  EXECUTOR_DRAIN,     /* chip select is high, an abandoned DMA runs out */
  EXECUTOR_SAFE,      /* DMA runs, with a request of the bridge's own */
} executor_state_t;

typedef enum reply_state { REPLY_SEEK, REPLY_HEADER, REPLY_PAYLOAD, REPLY_COMPLETE, REPLY_BROKEN } reply_state_t;

/* Ring indices count bytes since reset and wrap at 2^32; the ring sizes are powers of two. */
static struct {
  _Alignas(uint32_t) uint8_t receive_ring[RECEIVE_RING_BYTES + MAX_RECORD_BYTES]; /* the oldest record is the port's while port_spi_busy() */
  _Alignas(uint32_t) uint8_t reply_ring[REPLY_RING_BYTES];
  _Alignas(uint32_t) uint8_t spi_rx[SPI_LEAD_BYTES + SPI_BUFFER_BYTES]; /* the port's while port_spi_busy() */
  uint8_t safe_request[HEADER_BYTES + 4u];             /* the port's while port_spi_busy() */

  /* parser */
  parser_state_t parser;
  _Alignas(uint32_t) uint8_t header[HEADER_BYTES]; /* of the request being received */
  uint32_t header_bytes;
  uint32_t payload_left;
  uint8_t status;         /* what the request being received will be answered with */
  uint64_t last_byte_us;
  uint32_t receive_read;  /* oldest record */
  uint32_t receive_write; /* end of the complete records */
  uint32_t receive_fill;  /* end of the record being stored */

  /* executor: works on the oldest record, which stays in the ring until its reply is complete */
  executor_state_t executor;
  _Alignas(uint32_t) uint8_t request[HEADER_BYTES];
  _Alignas(uint32_t) record_prefix_t prefix;
  uint32_t reply_bytes_expected; /* payload of a good reply */
  uint32_t spi_parse_bytes;      /* so many, when the DMA has ended */
  const uint8_t *spi_parse_from; /* where the first byte is received that may belong to a reply */
  bool reply_timer_runs;
  uint64_t reply_timer_us;
  uint64_t deselected_us;        /* when chip select rose last */
  bool written;                  /* something was written to the FPGA since it was made safe */
  uint32_t safe_left;            /* writes that are still to be made to make it safe */

  /* the reply being read from SPI */
  reply_state_t reply;
  _Alignas(uint32_t) uint8_t reply_header[HEADER_BYTES];
  uint32_t reply_header_bytes;
  uint32_t reply_payload_left;
  uint32_t reply_delay; /* bytes between the last request for data and its reply: the next one's will usually be the same */

  /* reply ring */
  uint32_t reply_read;
  uint32_t reply_write; /* end of the complete replies */
  uint32_t reply_fill;  /* end of the reply being stored */

  uint32_t scratch;
  bridge_counters_t counters;
} bridge;

/* The RP2040 has 264 KiB of RAM. TinyUSB, its buffers, both stacks and the SDK take less than 64 KiB, a bitstream on its way
 * to the FPGA is streamed; the bridge may have 64 KiB, which leaves half of the memory free. */
_Static_assert(sizeof(bridge) <= 64u * 1024u, "RAM budget of the bridge");

/* ---------------------------------------------------------------- small helpers */

static uint32_t get_u32(const uint8_t *from) {
  return (uint32_t)from[0] | ((uint32_t)from[1] << 8) | ((uint32_t)from[2] << 16) | ((uint32_t)from[3] << 24);
}

static void put_u32(uint8_t *to, uint32_t value) {
  to[0] = (uint8_t)value;
  to[1] = (uint8_t)(value >> 8);
  to[2] = (uint8_t)(value >> 16);
  to[3] = (uint8_t)(value >> 24);
}

static uint32_t header_length(const uint8_t *header) {
  return (uint32_t)header[REQUEST_HEADER_LENGTH_OFFSET] | ((uint32_t)header[REQUEST_HEADER_LENGTH_OFFSET + 1] << 8);
}

static uint32_t header_address(const uint8_t *header) { return get_u32(header + REQUEST_HEADER_ADDRESS_OFFSET); }

static uint8_t header_check(const uint8_t *header, uint32_t bytes) {
  uint8_t check = 0;
  for (uint32_t i = 0; i < bytes; i++) {
    check ^= header[i];
  }
  return check;
}

/* Puts bytes behind the `*filled` that `header` has. Returns how many it took. */
static uint32_t fill_header(uint8_t *header, uint32_t *filled, const uint8_t *bytes, size_t count) {
  const uint32_t room = HEADER_BYTES - *filled;
  const uint32_t piece = count < room ? (uint32_t)count : room;
  memcpy(header + *filled, bytes, piece);
  *filled += piece;
  return piece;
}

static void raise_to(uint32_t *high_water, uint32_t value) {
  if (value > *high_water) {
    *high_water = value;
  }
}

/* What a request takes in the receive ring. */
static uint32_t record_bytes(uint32_t payload_bytes) { return (RECORD_BYTES + payload_bytes + 3u) & ~3u; }

static uint8_t *record_at(uint32_t index) { return bridge.receive_ring + (index & (RECEIVE_RING_BYTES - 1u)); }

/* ---------------------------------------------------------------- reply ring */

static uint32_t reply_room(void) { return REPLY_RING_BYTES - (bridge.reply_fill - bridge.reply_read); }

static void reply_store(const uint8_t *bytes, uint32_t length) {
  const uint32_t offset = bridge.reply_fill & (REPLY_RING_BYTES - 1u);
  const uint32_t first = length < REPLY_RING_BYTES - offset ? length : REPLY_RING_BYTES - offset;
  memcpy(bridge.reply_ring + offset, bytes, first);
  memcpy(bridge.reply_ring, bytes + first, length - first);
  bridge.reply_fill += length;
}

/* Header of a reply to the current request. */
static void reply_store_header(uint8_t status, uint32_t length) {
  _Alignas(uint32_t) uint8_t header[HEADER_BYTES];
  memcpy(header, bridge.request, HEADER_BYTES);
  header[REQUEST_HEADER_START_OFFSET] = START_BYTE;
  header[REQUEST_HEADER_OPERATION_OFFSET] |= OPERATION_REPLY;
  header[REQUEST_HEADER_LENGTH_OFFSET] = (uint8_t)length;
  header[REQUEST_HEADER_LENGTH_OFFSET + 1] = (uint8_t)(length >> 8);
  header[REQUEST_HEADER_STATUS_OFFSET] = status;
  header[REQUEST_HEADER_CHECK_OFFSET] = 0;
  header[REQUEST_HEADER_CHECK_OFFSET] = (uint8_t)(0xFFu ^ header_check(header, HEADER_BYTES));
  reply_store(header, HEADER_BYTES);
}

/* The reply is complete in the ring: publish it and drop the request. */
static void finish(uint8_t status) {
  bridge.reply_write = bridge.reply_fill;
  raise_to(&bridge.counters.tx_high_water, bridge.reply_write - bridge.reply_read);
  bridge.receive_read += record_bytes(bridge.prefix.payload_bytes);
  bridge.counters.requests++;
  if (status != STATUS_OK) {
    bridge.counters.errors++;
  }
  if (status == STATUS_BAD_HEADER) {
    bridge.counters.bad_headers++;
  } else if (status == STATUS_TRUNCATED) {
    bridge.counters.truncated++;
  } else if (status == STATUS_NO_REPLY) {
    bridge.counters.no_replies++;
  }
  if (status != STATUS_OK) {
    log_request(bridge.request[REQUEST_HEADER_OPERATION_OFFSET], header_address(bridge.request),
                header_length(bridge.request), status);
  }
}

static void finish_with_status(uint8_t status) {
  bridge.reply_fill = bridge.reply_write; /* forget a reply that came in part */
  reply_store_header(status, 0);
  finish(status);
}

size_t bridge_reply_level(void) { return bridge.reply_write - bridge.reply_read; }

const uint8_t *bridge_reply_peek(size_t *length) {
  const uint32_t offset = bridge.reply_read & (REPLY_RING_BYTES - 1u);
  const uint32_t level = bridge.reply_write - bridge.reply_read;
  *length = level < REPLY_RING_BYTES - offset ? level : REPLY_RING_BYTES - offset;
  return bridge.reply_ring + offset;
}

void bridge_reply_copy(uint8_t *to, size_t length) {
  const uint32_t offset = bridge.reply_read & (REPLY_RING_BYTES - 1u);
  const size_t first = length < REPLY_RING_BYTES - offset ? length : REPLY_RING_BYTES - offset;
  memcpy(to, bridge.reply_ring + offset, first);
  memcpy(to + first, bridge.reply_ring, length - first);
}

void bridge_reply_take(size_t length) { bridge.reply_read += (uint32_t)length; }

/* ---------------------------------------------------------------- receiving */

static uint32_t receive_room(void) { return RECEIVE_RING_BYTES - (bridge.receive_fill - bridge.receive_read); }

/* Goes on with the record that begins at receive_write. */
static void receive_store(const uint8_t *bytes, uint32_t length) {
  memcpy(record_at(bridge.receive_write) + (bridge.receive_fill - bridge.receive_write), bytes, length);
  bridge.receive_fill += length;
}

static void receive_store_record(uint8_t status, uint32_t payload_bytes) {
  const record_prefix_t prefix = {.status = status, .reserved = 0, .payload_bytes = (uint16_t)payload_bytes};
  receive_store((const uint8_t *)&prefix, sizeof prefix);
  receive_store(bridge.header, HEADER_BYTES);
}

/* The request is complete: hand it to the executor. */
static void parser_commit(void) {
  bridge.receive_fill = (bridge.receive_fill + 3u) & ~3u;
  bridge.receive_write = bridge.receive_fill;
  raise_to(&bridge.counters.rx_high_water, bridge.receive_fill - bridge.receive_read);
  bridge.parser = PARSER_IDLE;
}

/* What the header alone tells about the request. */
static uint8_t parser_judge(const uint8_t *header) {
  const uint32_t length = header_length(header);
  switch (header[REQUEST_HEADER_OPERATION_OFFSET]) {
    case OPERATION_READ:
    case OPERATION_WRITE:
      return length == 0 || length > MAX_LENGTH ? STATUS_BAD_LENGTH : STATUS_OK;
    case OPERATION_WAIT:
      return length == 0 ? STATUS_OK : STATUS_BAD_LENGTH;
    default:
      return STATUS_UNKNOWN_OPERATION;
  }
}

static void parser_header_complete(void) {
  if (header_check(bridge.header, HEADER_BYTES) != 0xFFu) {
    bridge.parser = PARSER_DISCARD;
    return;
  }
  bridge.status = parser_judge(bridge.header);
  const bool carries = (bridge.header[REQUEST_HEADER_OPERATION_OFFSET] & OPERATION_CARRIES_PAYLOAD) != 0;
  bridge.payload_left = carries ? header_length(bridge.header) : 0;
  bridge.parser = PARSER_PLACE;
}

/* Moves a complete header into the ring. The whole request must fit, so that storing its payload never stops half way. */
static bool parser_place(void) {
  const bool store = bridge.status == STATUS_OK;
  const uint32_t payload = store ? bridge.payload_left : 0;
  if (receive_room() < record_bytes(payload)) {
    return false;
  }
  receive_store_record(bridge.status, payload);
  if (bridge.payload_left == 0) {
    parser_commit();
  } else {
    bridge.parser = store ? PARSER_PAYLOAD : PARSER_SKIP;
    bridge.last_byte_us = port_time_us(); /* quiet is counted from here on */
  }
  return true;
}

static size_t parser_take(const uint8_t *bytes, size_t count) {
  size_t used = 0;
  while (used < count) {
    switch (bridge.parser) {
      case PARSER_IDLE:
        while (bytes[used] == FILLER_BYTE) {
          if (++used == count) {
            return used;
          }
        }
        memset(bridge.header, 0, sizeof bridge.header);
        bridge.header_bytes = 0;
        bridge.parser = bytes[used] == START_BYTE ? PARSER_HEADER : PARSER_DISCARD;
        break;

      case PARSER_HEADER:
        used += fill_header(bridge.header, &bridge.header_bytes, bytes + used, count - used);
        if (bridge.header_bytes == HEADER_BYTES) {
          parser_header_complete();
        }
        if (bridge.parser == PARSER_PLACE) {
          (void)parser_place(); /* without room, bridge_task tries again */
        }
        break;

      case PARSER_PLACE:
        if (!parser_place()) {
          return used;
        }
        break;

      case PARSER_PAYLOAD:
      case PARSER_SKIP: {
        const size_t rest = count - used;
        const uint32_t piece = rest < bridge.payload_left ? (uint32_t)rest : bridge.payload_left;
        if (bridge.parser == PARSER_PAYLOAD) {
          receive_store(bytes + used, piece);
        }
        used += piece;
        bridge.payload_left -= piece;
        if (bridge.payload_left == 0) {
          parser_commit();
        }
        break;
      }

      case PARSER_DISCARD:
        if (bridge.header_bytes < HEADER_BYTES) {
          bridge.header[bridge.header_bytes++] = bytes[used++];
        } else {
          used = count;
        }
        break;
    }
  }
  return used;
}

size_t bridge_receive(const uint8_t *bytes, size_t count) {
  const size_t used = parser_take(bytes, count);
  if (used > 0) {
    bridge.last_byte_us = port_time_us();
  }
  return used;
}

/* The request being received is cut off, or what was received is no request: quiet ends it. While a request waits for room
 * the silence is ours. */
static bool parser_waits_for_quiet(void) { return bridge.parser != PARSER_IDLE && bridge.parser != PARSER_PLACE; }

static bool parser_task(void) {
  if (bridge.parser == PARSER_PLACE) {
    return parser_place();
  }
  if (!parser_waits_for_quiet() || port_time_us() - bridge.last_byte_us < QUIET_US) {
    return false;
  }
  bridge.receive_fill = bridge.receive_write; /* forget what was stored of it */
  if (receive_room() < RECORD_BYTES) {
    return false;
  }
  receive_store_record(bridge.parser == PARSER_DISCARD ? STATUS_BAD_HEADER : STATUS_TRUNCATED, 0);
  parser_commit();
  return true;
}

/* ---------------------------------------------------------------- bridge registers */

static uint32_t register_read(uint32_t address) {
  const bridge_counters_t *counters = &bridge.counters;
  switch (address) {
    case BRIDGE_ID:
      return BRIDGE_ID_RESET;
    case BRIDGE_VERSION:
      return bridge_wire_version();
    case BRIDGE_BUILD:
      return CODECRIG_BUILD;
    case BRIDGE_MAX_LENGTH:
      return MAX_LENGTH;
    case BRIDGE_WINDOW:
      return REPLY_RING_BYTES;
    case BRIDGE_SCRATCH:
      return bridge.scratch;
    case BRIDGE_SPI_HZ:
      return BRIDGE_SPI_HZ_RESET;
    case BRIDGE_FPGA_STATUS:
      return loader_status();
    case BRIDGE_SERIAL_LO:
      return (uint32_t)port_serial();
    case BRIDGE_SERIAL_HI:
      return (uint32_t)(port_serial() >> 32);
    case BRIDGE_REQUESTS:
      return counters->requests;
    case BRIDGE_ERRORS:
      return counters->errors;
    case BRIDGE_BAD_HEADERS:
      return counters->bad_headers;
    case BRIDGE_TRUNCATED:
      return counters->truncated;
    case BRIDGE_NO_REPLIES:
      return counters->no_replies;
    case BRIDGE_RX_HIGH_WATER:
      return counters->rx_high_water;
    case BRIDGE_TX_HIGH_WATER:
      return counters->tx_high_water;
    case BRIDGE_LOAD:
      return loader_last_command();
    case BRIDGE_LOAD_PAGE:
      return loader_last_page();
    case BRIDGE_LOAD_CRC:
      return loader_crc();
    default:
      return address >= LOAD_BUFFER_BASE ? loader_load(address - LOAD_BUFFER_BASE) : 0;
  }
}

static void register_write(uint32_t address, uint32_t value) {
  if (address == BRIDGE_SCRATCH) {
    bridge.scratch = value;
  } else if (address == BRIDGE_LOAD) {
    loader_command(value);
  } else if (address == BRIDGE_LOAD_PAGE) {
    loader_page(value);
  } else if (address >= LOAD_BUFFER_BASE) {
    loader_store(address - LOAD_BUFFER_BASE, value);
  }
}

static void execute_register_request(void) {
  const uint32_t address = header_address(bridge.request);
  const uint32_t length = header_length(bridge.request);
  const uint32_t offset = address - BRIDGE_BASE;
  if (offset >= BRIDGE_BLOCK_BYTES) {
    finish_with_status(STATUS_UNMAPPED);
  } else if (address % 4u != 0) {
    finish_with_status(STATUS_MISALIGNED);
  } else if (length % 4u != 0) {
    finish_with_status(STATUS_BAD_LENGTH);
  } else if (offset + length > BRIDGE_BLOCK_BYTES) {
    finish_with_status(STATUS_UNMAPPED);
  } else if (bridge.request[REQUEST_HEADER_OPERATION_OFFSET] == OPERATION_READ) {
    reply_store_header(STATUS_OK, length);
    for (uint32_t at = 0; at < length; at += 4) {
      uint8_t word[4];
      put_u32(word, register_read(address + at));
      reply_store(word, sizeof word);
    }
    finish(STATUS_OK);
  } else {
    const uint8_t *payload = record_at(bridge.receive_read) + RECORD_BYTES;
    for (uint32_t at = 0; at < length; at += 4) {
      register_write(address + at, get_u32(payload + at));
    }
    finish_with_status(STATUS_OK);
  }
}

/* ---------------------------------------------------------------- SPI */

/* Sends a request, then filler, `length` bytes in all. A reply may begin behind the request. */
static void spi_start(const uint8_t *request, uint32_t request_bytes, uint32_t length) {
  uint8_t *to = bridge.spi_rx + ((bridge.reply_fill - request_bytes - bridge.reply_delay) & SPI_LEAD_BYTES);
  bridge.spi_parse_from = to + request_bytes;
  bridge.spi_parse_bytes = length - request_bytes;
  bridge.executor = EXECUTOR_SPI;
  port_spi_start(request, request_bytes, to, length);
}

static void spi_start_filler(uint32_t length) { spi_start(NULL, 0, length); }

static void spi_deselect(void) {
  port_spi_select(false);
  bridge.deselected_us = port_time_us();
  bridge.executor = port_spi_busy() ? EXECUTOR_DRAIN : EXECUTOR_IDLE;
}

static bool spi_gap_over(void) { return port_time_us() - bridge.deselected_us >= SELECT_GAP_US; }

/* Sends the request and, in the same transfer, filler for the longest way its reply can take. A WAIT goes alone. */
static void spi_send_request(void) {
  const uint32_t payload = bridge.prefix.payload_bytes;
  const uint32_t request = HEADER_BYTES + payload;
  const bool wait = bridge.request[REQUEST_HEADER_OPERATION_OFFSET] == OPERATION_WAIT;
  const uint32_t filler = wait ? 0 : SPI_SLACK_BYTES + HEADER_BYTES + bridge.reply_bytes_expected;
  bridge.reply = REPLY_SEEK;
  bridge.reply_header_bytes = 0;
  bridge.reply_timer_runs = false;
  port_spi_select(true);
  spi_start(record_at(bridge.receive_read) + sizeof(record_prefix_t), request, request + filler);
}

/* Only an answer to the request that was sent counts as one; anything else is noise on the link. */
static bool spi_reply_header_fits(void) {
  const uint8_t *reply = bridge.reply_header;
  const uint8_t *request = bridge.request;
  const uint32_t expected = reply[REQUEST_HEADER_STATUS_OFFSET] == STATUS_OK ? bridge.reply_bytes_expected : 0;
  return header_check(reply, HEADER_BYTES) == 0xFFu &&
         reply[REQUEST_HEADER_OPERATION_OFFSET] == (request[REQUEST_HEADER_OPERATION_OFFSET] | OPERATION_REPLY) &&
         memcmp(reply + REQUEST_HEADER_SEQUENCE_OFFSET, request + REQUEST_HEADER_SEQUENCE_OFFSET,
                REQUEST_HEADER_LENGTH_OFFSET - REQUEST_HEADER_SEQUENCE_OFFSET) == 0 &&
         reply[REQUEST_HEADER_STATUS_OFFSET] != STATUS_BAD_HEADER && header_length(reply) == expected;
}

static void spi_parse(const uint8_t *bytes, uint32_t count) {
  uint32_t used = 0;
  while (used < count) {
    const uint32_t rest = count - used;
    switch (bridge.reply) {
      case REPLY_SEEK: {
        const uint8_t *start = memchr(bytes + used, START_BYTE, rest);
        if (start == NULL) {
          return;
        }
        used = (uint32_t)(start - bytes);
        if (bridge.reply_bytes_expected > 0) {
          bridge.reply_delay = used;
        }
        bridge.reply = REPLY_HEADER;
        break;
      }
      case REPLY_HEADER:
        used += fill_header(bridge.reply_header, &bridge.reply_header_bytes, bytes + used, rest);
        if (bridge.reply_header_bytes < HEADER_BYTES) {
          break;
        }
        if (!spi_reply_header_fits()) {
          bridge.reply = REPLY_BROKEN;
          return;
        }
        reply_store(bridge.reply_header, HEADER_BYTES);
        bridge.reply_payload_left = header_length(bridge.reply_header);
        bridge.reply = bridge.reply_payload_left > 0 ? REPLY_PAYLOAD : REPLY_COMPLETE;
        break;
      case REPLY_PAYLOAD: {
        const uint32_t piece = rest < bridge.reply_payload_left ? rest : bridge.reply_payload_left;
        reply_store(bytes + used, piece);
        used += piece;
        bridge.reply_payload_left -= piece;
        if (bridge.reply_payload_left == 0) {
          bridge.reply = REPLY_COMPLETE;
        }
        break;
      }
      case REPLY_COMPLETE:
      case REPLY_BROKEN:
        return;
    }
  }
}

/* A transfer has ended: the reply is complete, or more of it must be clocked out, or it never came. */
static void spi_transfer_ended(void) {
  spi_parse(bridge.spi_parse_from, bridge.spi_parse_bytes);
  if (bridge.reply == REPLY_COMPLETE) {
    spi_deselect();
    finish(bridge.reply_header[REQUEST_HEADER_STATUS_OFFSET]);
    return;
  }
  const uint64_t now = port_time_us();
  if (bridge.request[REQUEST_HEADER_OPERATION_OFFSET] == OPERATION_WAIT && !bridge.reply_timer_runs) {
    bridge.executor = EXECUTOR_ATTENTION;
    return;
  }
  if (!bridge.reply_timer_runs) {
    bridge.reply_timer_runs = true;
    bridge.reply_timer_us = now;
  }
  if (bridge.reply == REPLY_BROKEN || now - bridge.reply_timer_us >= NO_REPLY_US) {
    spi_deselect();
    finish_with_status(STATUS_NO_REPLY);
    return;
  }
  switch (bridge.reply) {
    case REPLY_HEADER:
      spi_start_filler(HEADER_BYTES - bridge.reply_header_bytes + bridge.reply_bytes_expected);
      break;
    case REPLY_PAYLOAD:
      spi_start_filler(bridge.reply_payload_left);
      break;
    default:
      spi_start_filler(SPI_SLACK_BYTES + HEADER_BYTES + bridge.reply_bytes_expected);
      break;
  }
}

/* ---------------------------------------------------------------- safe state */

#define SAFE_CONVERTER 1u
#define SAFE_SPDIF 2u
#define SAFE_WRITES (STREAM_COUNT + 2u)

/* Starts the next write; its reply is clocked out and not looked at. */
static void safe_send(void) {
  uint32_t address = STREAM_BASE + (bridge.safe_left - SAFE_SPDIF - 1u) * STREAM_STRIDE + STREAM_CONTROL;
  uint32_t value = STREAM_STATE_STOP;
  if (bridge.safe_left == SAFE_CONVERTER) {
    address = FPGA_CONVERTER_CONTROL;
    value = 1u << FPGA_CONVERTER_CONTROL_MUTE_LSB;
  } else if (bridge.safe_left == SAFE_SPDIF) {
    address = SPDIF_GATES;
    value = 0;
  }
  bridge.safe_left--;
  uint8_t *request = bridge.safe_request;
  memset(request, 0, sizeof bridge.safe_request);
  request[0] = START_BYTE;
  request[REQUEST_HEADER_OPERATION_OFFSET] = OPERATION_WRITE;
  put_u32(request + REQUEST_HEADER_ADDRESS_OFFSET, address);
  request[REQUEST_HEADER_LENGTH_OFFSET] = 4;
  request[REQUEST_HEADER_CHECK_OFFSET] = (uint8_t)~header_check(request, REQUEST_HEADER_CHECK_OFFSET);
  put_u32(request + HEADER_BYTES, value);
  port_spi_select(true);
  spi_start(request, sizeof bridge.safe_request, sizeof bridge.safe_request + SPI_SLACK_BYTES + HEADER_BYTES);
  bridge.executor = EXECUTOR_SAFE;
}

/* ---------------------------------------------------------------- executor */

/* The oldest request, if there is one and its reply has room. */
static bool executor_load(void) {
  if (bridge.receive_write == bridge.receive_read) {
    return false;
  }
  const uint8_t *record = record_at(bridge.receive_read);
  const uint8_t *request = record + sizeof bridge.prefix;
  memcpy(&bridge.prefix, record, sizeof bridge.prefix);
  const bool reads = bridge.prefix.status == STATUS_OK && request[REQUEST_HEADER_OPERATION_OFFSET] == OPERATION_READ;
  bridge.reply_bytes_expected = reads ? header_length(request) : 0;
  if (reply_room() < HEADER_BYTES + bridge.reply_bytes_expected) {
    return false;
  }
  memcpy(bridge.request, request, HEADER_BYTES);
  return true;
}

static bool for_fpga(void) {
  const uint32_t nibble = header_address(bridge.request) >> 28;
  return bridge.request[REQUEST_HEADER_OPERATION_OFFSET] == OPERATION_WAIT || nibble == AUDIO_MEMORY_BASE >> 28 ||
         nibble == FPGA_BASE >> 28;
}

static bool executor_start(void) {
  if (bridge.safe_left > 0) {
    if (!loader_fpga_ready()) {
      bridge.safe_left = 0; /* what ran there is gone */
    } else if (spi_gap_over()) {
      safe_send();
    } else {
      return false;
    }
    return true;
  }
  if (!executor_load()) {
    return false;
  }
  if (bridge.prefix.status != STATUS_OK) {
    finish_with_status(bridge.prefix.status);
  } else if (for_fpga()) {
    if (!loader_fpga_ready()) {
      finish_with_status(STATUS_NOT_READY);
    } else if (spi_gap_over()) {
      bridge.written = bridge.written || bridge.request[REQUEST_HEADER_OPERATION_OFFSET] == OPERATION_WRITE;
      spi_send_request();
    } else {
      return false;
    }
  } else if (header_address(bridge.request) >> 28 == BRIDGE_BASE >> 28) {
    if (bridge.request[REQUEST_HEADER_OPERATION_OFFSET] == OPERATION_WRITE && loader_busy()) {
      return false;
    }
    execute_register_request();
  } else {
    finish_with_status(STATUS_UNMAPPED);
  }
  return true;
}

static bool executor_task(void) {
  switch (bridge.executor) {
    case EXECUTOR_IDLE:
      return executor_start();
    case EXECUTOR_SPI:
      if (port_spi_busy()) {
        return false;
      }
      spi_transfer_ended();
      return true;
    case EXECUTOR_ATTENTION:
      if (!loader_fpga_ready()) {
        spi_deselect(); /* the request starts anew and finds the FPGA not ready */
        return true;
      }
      if (!port_attention()) {
        return false;
      }
      bridge.reply_timer_runs = true;
      bridge.reply_timer_us = port_time_us();
      spi_start_filler(SPI_SLACK_BYTES + HEADER_BYTES);
      return true;
    case EXECUTOR_DRAIN:
      if (port_spi_busy()) {
        return false;
      }
      bridge.executor = EXECUTOR_IDLE;
      return true;
    case EXECUTOR_SAFE:
      if (port_spi_busy()) {
        return false;
      }
      spi_deselect();
      return true;
  }
  return false;
}

/* ---------------------------------------------------------------- outside */

void bridge_init(void) { memset(&bridge, 0, sizeof bridge); }

void bridge_reset(void) {
  if (bridge.executor == EXECUTOR_SPI || bridge.executor == EXECUTOR_ATTENTION) {
    spi_deselect();
  }
  bridge.parser = PARSER_IDLE;
  bridge.receive_read = bridge.receive_write = bridge.receive_fill = 0;
  bridge.reply_read = bridge.reply_write = bridge.reply_fill = 0;
  bridge.counters.resets++;
}

void bridge_make_safe(void) {
  bridge_reset();
  if (bridge.written) {
    bridge.written = false;
    bridge.safe_left = SAFE_WRITES;
  }
}

bool bridge_task(void) {
  const bool parsed = parser_task();
  const bool executed = executor_task();
  return parsed || executed;
}

uint64_t bridge_deadline_us(void) {
  uint64_t deadline = UINT64_MAX;
  if (parser_waits_for_quiet() && RECEIVE_RING_BYTES - (bridge.receive_write - bridge.receive_read) >= RECORD_BYTES) {
    deadline = bridge.last_byte_us + QUIET_US;
  }
  const bool waiting = bridge.receive_write != bridge.receive_read || bridge.safe_left > 0;
  if (bridge.executor == EXECUTOR_IDLE && waiting && !spi_gap_over() &&
      bridge.deselected_us + SELECT_GAP_US < deadline) {
    deadline = bridge.deselected_us + SELECT_GAP_US;
  }
  return deadline;
}

bool bridge_unanswered(void) { return bridge.parser != PARSER_IDLE || bridge.receive_write != bridge.receive_read; }

const bridge_counters_t *bridge_counters(void) { return &bridge.counters; }

uint32_t bridge_wire_version(void) { return BRIDGE_VERSION_MAJOR_RESET << BRIDGE_VERSION_MAJOR_LSB; }

uint32_t bridge_build(void) { return CODECRIG_BUILD; }
