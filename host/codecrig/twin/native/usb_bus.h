// A full-speed USB bus at packet level, with its host controller.
//
// What is modelled: frames of 1 ms of HOST time with a start-of-frame packet; each transaction with its token, data, handshake
// and the standard's 3 bytes of gaps (13 bytes of overhead a bulk transaction: 19 of 64 bytes fit a frame); exact bit stuffing of data
// packets; NAKs, which take bus time and are tried again in turn; round robin between pending endpoints; control transfers
// stage by stage. A transaction starts only if its worst case ends within the frame. The host controller needs no time of
// its own: a transfer's first token follows its submission, and a URB completes at the end of its last transaction.
// Not modelled: errors on the wire, hubs; data toggles in the emulator alone.
//
// Time: the vendor interface's bulk endpoint (number 1) and control transfers take bus time. Everything of the console
// (other endpoints, class requests) is carried out in no time, so that console traffic never moves time.
#ifndef CODECRIG_TWIN_USB_BUS_H
#define CODECRIG_TWIN_USB_BUS_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "microcontroller.h"
#include "units.h"

namespace twin {

// Linux error numbers, as USB/IP carries them.
constexpr int32_t USB_OK = 0;
constexpr int32_t USB_STALLED = -32;      // EPIPE
constexpr int32_t USB_OVERFLOW = -75;     // EOVERFLOW: the device sent more than was asked for
constexpr int32_t USB_GONE = -108;        // ESHUTDOWN: unplugged
constexpr int32_t USB_SHORT = -121;       // EREMOTEIO: short packet where the client forbade it
constexpr int32_t USB_INVALID = -22;      // EINVAL
constexpr int32_t USB_UNLINKED = -104;    // ECONNRESET

struct Urb {
  static constexpr uint32_t SHORT_NOT_OK = 0x01;
  static constexpr uint32_t ZERO_PACKET = 0x40;
  uint32_t sequence = 0;
  uint8_t endpoint = 0;  // without direction bit
  bool in = false;
  uint32_t flags = 0;
  uint32_t length = 0;        // buffer length
  std::array<uint8_t, 8> setup{};
  std::vector<uint8_t> data;  // OUT: what to send; IN: what came
  uint32_t actual = 0;
  enum class Stage { setup, data, status } stage = Stage::setup;  // control only
  bool zero_packet_sent = false;
};

struct UsbCounters {
  uint64_t out_bytes = 0;  // payload on the vendor bulk endpoints
  uint64_t in_bytes = 0;
  uint64_t naks = 0;      // all endpoints
  uint64_t out_packets = 0, in_packets = 0;  // vendor bulk endpoints
  uint64_t out_naks = 0, in_naks = 0;
  uint64_t busy_units = 0;  // board units in which a packet other than start-of-frame or NAKed was on its way
};

class UsbBus {
 public:
  using Completion = std::function<void(const Urb& urb, int32_t status)>;
  UsbBus(const HostClock& clock, Microcontroller& device);

  void on_completion(Completion completion) { completion_ = std::move(completion); }

  void suspend();  // the cable was pulled: the bus is idle, for as long as the firmware needs to make the board safe
  void reset();    // bus reset: drops everything pending without completing it, and gives the device address 2 again
  void submit(Urb urb);
  bool unlink(uint32_t sequence);  // false: not pending (any more)
  void complete_all(int32_t status);

  // Time must flow: something that takes bus time is pending and can get on.
  bool wants_time() const;
  bool pending() const;
  Units next_event(Units now);  // NEVER if there is nothing to do; not before now
  void run_event();
  void firmware_ran() { firmware_moved_ = console_stale_ = true; }  // tell after the firmware did something: a NAK may be old
  bool console_stale() const { return console_stale_ && !console_.empty(); }
  void pump_console();  // transactions that take no time

  // A control transfer in no time, for the bus's own enumeration. Returns false on stall or if the device does not answer.
  bool control_now(const std::array<uint8_t, 8>& setup, std::vector<uint8_t>& data);

  const UsbCounters& counters() const { return counters_; }
  uint8_t configuration() const { return configuration_; }

 private:
  enum class Slot { control, out, in, none };
  enum class Phase { idle, answer, end };

  std::deque<Urb>& queue(Slot slot) { return queues_[static_cast<size_t>(slot)]; }
  const std::deque<Urb>& queue(Slot slot) const { return queues_[static_cast<size_t>(slot)]; }
  void note(bool worked);
  void answer();
  void end_transaction();
  void finish(Slot slot, int32_t status);
  void note_control_success(const Urb& urb);
  void do_console_controls();
  static bool takes_time(const Urb& urb);

  HostClock clock_;
  Microcontroller& device_;
  Completion completion_;
  std::array<std::deque<Urb>, 3> queues_;
  std::vector<Urb> console_;
  size_t turn_ = 0;

  Phase phase_ = Phase::idle;
  Slot slot_ = Slot::none;
  uint64_t host_time_ = 0;   // bus is free from here (idle), or the time of the next phase; host units
  uint64_t start_ = 0;
  bool in_token_ = false;
  bool had_data_ = false;
  bool complete_ = false;
  bool in_nak_ = false;  // the last IN on the vendor endpoint was NAKed
  bool firmware_moved_ = true;
  bool console_stale_ = false;
  int32_t status_ = 0;
  uint8_t configuration_ = 0;
  UsbCounters counters_;
};

// Bits that bit stuffing adds to a data packet with this payload (PID, payload and CRC16).
uint32_t stuffed_bits(uint8_t packet_id, const uint8_t* data, size_t length);

}  // namespace twin
#endif
