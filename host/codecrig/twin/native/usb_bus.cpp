#include "usb_bus.h"

#include <algorithm>
#include <utility>

#include "native.h"

namespace twin {
namespace {

// Longer than the firmware needs to stop all streams.
constexpr Units SUSPENDED = 3000 * UNITS_PER_MICROSECOND;
constexpr uint32_t PACKET_BYTES = 64;
constexpr uint8_t VENDOR_ENDPOINT = 1;
constexpr uint8_t PID_DATA0 = 0xC3;

// Bit times. The 24 bits of gaps and ends of packet that the standard reckons for a transaction are split 8 to a packet.
constexpr uint64_t GAP_BITS = 8;
constexpr uint64_t START_OF_FRAME_BITS = 32 + GAP_BITS;
constexpr uint64_t TOKEN_BITS = 32 + GAP_BITS;
constexpr uint64_t DATA_OVERHEAD_BITS = 32 + GAP_BITS;
constexpr uint64_t HANDSHAKE_BITS = 16 + GAP_BITS;
constexpr uint64_t FRAME_BITS = HOST_UNITS_PER_FRAME / HOST_UNITS_PER_BIT;
// Worst case of a transaction: every bit after the token in runs of ones, one more bit for each six.
constexpr uint64_t WORST_BITS = TOKEN_BITS + DATA_OVERHEAD_BITS + HANDSHAKE_BITS + (PACKET_BYTES * 8 + 24) * 7 / 6 - 24;

// A device that NAKs a control transfer of our own this often without the firmware having anything to do is dead.
constexpr int MAX_NAKS_NOW = 64;

uint64_t data_bits(const uint8_t* data, size_t length) {
  return DATA_OVERHEAD_BITS + length * 8 + stuffed_bits(PID_DATA0, data, length);
}

uint16_t setup_length(const std::array<uint8_t, 8>& setup) { return static_cast<uint16_t>(setup[6] | setup[7] << 8); }

}  // namespace

uint32_t stuffed_bits(uint8_t packet_id, const uint8_t* data, size_t length) {
  // Per run of ones so far (0 to 5) and byte: bits added, and the run after it.
  struct Step {
    uint8_t added, run;
  };
  static const auto table = [] {
    std::array<std::array<Step, 256>, 6> steps{};
    for (uint8_t run = 0; run < 6; ++run) {
      for (uint32_t byte = 0; byte < 256; ++byte) {
        uint8_t ones = run, added = 0;
        for (uint32_t bit = 0; bit < 8; ++bit) {
          ones = (byte >> bit & 1) != 0 ? static_cast<uint8_t>(ones + 1) : 0;
          if (ones == 6) {
            ones = 0;
            ++added;
          }
        }
        steps[run][byte] = {added, ones};
      }
    }
    return steps;
  }();
  static const auto crc_table = [] {
    std::array<uint16_t, 256> entries{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint16_t value = static_cast<uint16_t>(byte);
      for (int bit = 0; bit < 8; ++bit) value = static_cast<uint16_t>((value & 1) != 0 ? value >> 1 ^ 0xA001 : value >> 1);
      entries[byte] = value;
    }
    return entries;
  }();
  uint32_t added = 0;
  uint8_t run = 1;  // the synchronisation pattern ends in a one
  auto step = [&](uint8_t byte) {
    const Step& next = table[run][byte];
    added += next.added;
    run = next.run;
  };
  uint16_t crc = 0xFFFF;
  step(packet_id);
  for (size_t index = 0; index < length; ++index) {
    step(data[index]);
    crc = static_cast<uint16_t>(crc >> 8 ^ crc_table[(crc ^ data[index]) & 0xFF]);
  }
  crc = static_cast<uint16_t>(~crc);
  step(static_cast<uint8_t>(crc));
  step(static_cast<uint8_t>(crc >> 8));
  return added;
}

UsbBus::UsbBus(const HostClock& clock, Microcontroller& device) : clock_(clock), device_(device) {}

void UsbBus::note(bool worked) {
  if (worked) firmware_ran();
}

bool UsbBus::takes_time(const Urb& urb) {
  if (urb.endpoint == 0) return (urb.setup[0] & 0x60) != 0x20;  // class requests are the console's
  return urb.endpoint == VENDOR_ENDPOINT;
}

void UsbBus::suspend() {
  device_.usb_suspend();
  const Units end = device_.now() + SUSPENDED;
  while (device_.now() < end) note(device_.advance(end));
}

void UsbBus::reset() {
  for (auto& pending : queues_) pending.clear();
  console_.clear();
  phase_ = Phase::idle;
  slot_ = Slot::none;
  in_nak_ = false;
  configuration_ = 0;
  device_.usb_reset();
  note(device_.settle());
  std::vector<uint8_t> none;
  control_now({0x00, 5, 2, 0, 0, 0, 0, 0}, none);
}

void UsbBus::submit(Urb urb) {
  if (urb.endpoint != 0 && !takes_time(urb)) {
    console_.push_back(std::move(urb));
    pump_console();
    return;
  }
  const Slot slot = urb.endpoint == 0 ? Slot::control : urb.in ? Slot::in : Slot::out;
  if (slot == Slot::in && queue(slot).empty()) in_nak_ = false;
  queue(slot).push_back(std::move(urb));
  do_console_controls();
}

bool UsbBus::unlink(uint32_t sequence) {
  auto match = [sequence](const Urb& urb) { return urb.sequence == sequence; };
  for (size_t index = 0; index < queues_.size(); ++index) {
    auto& pending = queues_[index];
    const auto found = std::find_if(pending.begin(), pending.end(), match);
    if (found == pending.end()) continue;
    if (found == pending.begin() && phase_ != Phase::idle && slot_ == static_cast<Slot>(index)) {
      phase_ = Phase::idle;  // the transaction under way is abandoned
      slot_ = Slot::none;
    }
    pending.erase(found);
    return true;
  }
  const auto found = std::find_if(console_.begin(), console_.end(), match);
  if (found == console_.end()) return false;
  console_.erase(found);
  return true;
}

void UsbBus::complete_all(int32_t status) {
  phase_ = Phase::idle;
  slot_ = Slot::none;
  for (auto& pending : queues_) {
    while (!pending.empty()) {
      const Urb urb = std::move(pending.front());
      pending.pop_front();
      if (completion_) completion_(urb, status);
    }
  }
  for (const Urb& urb : std::exchange(console_, {}))
    if (completion_) completion_(urb, status);
}

bool UsbBus::pending() const {
  return std::any_of(queues_.begin(), queues_.end(), [](const auto& urbs) { return !urbs.empty(); });
}

bool UsbBus::wants_time() const {
  if (phase_ != Phase::idle || !queue(Slot::control).empty() || !queue(Slot::out).empty()) return true;
  // An IN transfer alone moves time only while an answer may still come: the device is busy with a request, or has not yet
  // said NAK since it last did anything. Otherwise time would pass with the client's own speed.
  return !queue(Slot::in).empty() && (device_.busy() || !in_nak_ || firmware_moved_);
}

Units UsbBus::next_event(Units now) {
  if (phase_ == Phase::idle) {
    if (!pending()) return NEVER;
    host_time_ = std::max(host_time_, clock_.to_host(now));
    const uint64_t frame = host_time_ / HOST_UNITS_PER_FRAME;
    const uint64_t free_bits_after_sof = frame * HOST_UNITS_PER_FRAME + START_OF_FRAME_BITS * HOST_UNITS_PER_BIT;
    host_time_ = std::max(host_time_, free_bits_after_sof);
    const uint64_t bit = (host_time_ % HOST_UNITS_PER_FRAME + HOST_UNITS_PER_BIT - 1) / HOST_UNITS_PER_BIT;
    if (bit + WORST_BITS > FRAME_BITS)
      host_time_ = (frame + 1) * HOST_UNITS_PER_FRAME + START_OF_FRAME_BITS * HOST_UNITS_PER_BIT;
  }
  return std::max(now, clock_.to_board(host_time_));
}

void UsbBus::run_event() {
  switch (phase_) {
    case Phase::idle: {
      for (size_t step = 0; step < queues_.size() && slot_ == Slot::none; ++step) {
        turn_ = (turn_ + 1) % queues_.size();
        if (!queues_[turn_].empty()) slot_ = static_cast<Slot>(turn_);
      }
      if (slot_ == Slot::none) return;
      const Urb& urb = queue(slot_).front();
      start_ = host_time_;
      in_token_ = urb.in;
      if (slot_ == Slot::control) {
        const bool data_in = (urb.setup[0] & 0x80) != 0;
        in_token_ = urb.stage == Urb::Stage::data ? data_in
                    : urb.stage == Urb::Stage::status ? !data_in || setup_length(urb.setup) == 0
                                                      : false;
      }
      uint64_t bits = TOKEN_BITS;
      if (!in_token_) {  // the packet we send is over before the device decides
        if (slot_ == Slot::control && urb.stage == Urb::Stage::setup) {
          bits += data_bits(urb.setup.data(), urb.setup.size());
        } else if (slot_ == Slot::control && urb.stage == Urb::Stage::status) {
          bits += data_bits(nullptr, 0);
        } else {
          bits += data_bits(urb.data.data() + urb.actual, std::min(PACKET_BYTES, urb.length - urb.actual));
        }
      }
      host_time_ += bits * HOST_UNITS_PER_BIT;
      phase_ = Phase::answer;
      return;
    }
    case Phase::answer:
      answer();
      return;
    case Phase::end:
      end_transaction();
      return;
  }
}

// The device's part of the transaction at the head of slot_. Sets how long the rest takes, and what becomes of the URB.
void UsbBus::answer() {
  Urb& urb = queue(slot_).front();
  native_handshake_t handshake = NATIVE_NAK;
  uint64_t bits = HANDSHAKE_BITS;
  complete_ = false;
  had_data_ = true;
  status_ = USB_OK;
  const bool control = slot_ == Slot::control;
  const uint8_t endpoint = control ? 0 : VENDOR_ENDPOINT;
  if (control && urb.stage == Urb::Stage::setup) {
    handshake = device_.usb_setup(urb.setup.data());
    if (handshake == NATIVE_ACK) urb.stage = setup_length(urb.setup) != 0 ? Urb::Stage::data : Urb::Stage::status;
  } else if (control && urb.stage == Urb::Stage::status) {
    uint16_t got = 0;
    uint8_t nothing[PACKET_BYTES];
    handshake = in_token_ ? device_.usb_in(0, nothing, sizeof nothing, &got) : device_.usb_out(0, nullptr, 0);
    if (in_token_ && handshake == NATIVE_ACK) bits += data_bits(nothing, got);
    complete_ = handshake == NATIVE_ACK;
  } else if (in_token_) {
    uint8_t packet[PACKET_BYTES];
    uint16_t got = 0;
    handshake = device_.usb_in(endpoint, packet, sizeof packet, &got);
    if (handshake == NATIVE_ACK) {
      bits += data_bits(packet, got);
      const uint32_t wanted = control ? std::min<uint32_t>(urb.length, setup_length(urb.setup)) : urb.length;
      const uint32_t taken = std::min<uint32_t>(got, wanted - urb.actual);
      urb.data.insert(urb.data.end(), packet, packet + taken);
      urb.actual += taken;
      if (!control) counters_.in_bytes += taken;
      const bool last = got < PACKET_BYTES || urb.actual >= wanted;
      if (taken < got) {
        status_ = USB_OVERFLOW;
        complete_ = true;
      } else if (last && control) {
        urb.stage = Urb::Stage::status;
      } else if (last) {
        if (urb.actual < wanted && (urb.flags & Urb::SHORT_NOT_OK) != 0) status_ = USB_SHORT;
        complete_ = true;
      }
    }
  } else {
    const uint32_t length = std::min(PACKET_BYTES, urb.length - urb.actual);
    handshake = device_.usb_out(endpoint, urb.data.data() + urb.actual, static_cast<uint16_t>(length));
    if (handshake == NATIVE_ACK) {
      urb.actual += length;
      if (!control) counters_.out_bytes += length;
      if (urb.actual == urb.length) {
        if (control) {
          urb.stage = Urb::Stage::status;
        } else if (length == PACKET_BYTES && (urb.flags & Urb::ZERO_PACKET) != 0 && !urb.zero_packet_sent) {
          urb.zero_packet_sent = true;
        } else {
          complete_ = true;
        }
      }
    }
  }
  if (handshake == NATIVE_STALL) {
    status_ = USB_STALLED;
    complete_ = true;
  } else if (handshake == NATIVE_NAK) {
    had_data_ = false;
    ++counters_.naks;
  }
  if (!control && handshake != NATIVE_STALL) {
    uint64_t& count = handshake == NATIVE_ACK ? (in_token_ ? counters_.in_packets : counters_.out_packets)
                                              : (in_token_ ? counters_.in_naks : counters_.out_naks);
    ++count;
  }
  if (slot_ == Slot::in) {
    in_nak_ = handshake == NATIVE_NAK;
    if (in_nak_) firmware_moved_ = false;
  }
  host_time_ += bits * HOST_UNITS_PER_BIT;
  phase_ = Phase::end;
  if (handshake != NATIVE_NAK) note(device_.act());
}

void UsbBus::end_transaction() {
  if (had_data_) counters_.busy_units += clock_.to_board(host_time_) - clock_.to_board(start_);
  phase_ = Phase::idle;
  const Slot slot = std::exchange(slot_, Slot::none);
  if (complete_) finish(slot, status_);
}

void UsbBus::finish(Slot slot, int32_t status) {
  const Urb urb = std::move(queue(slot).front());
  queue(slot).pop_front();
  if (slot == Slot::control && status == USB_OK) note_control_success(urb);
  if (slot == Slot::in) in_nak_ = false;
  if (completion_) completion_(urb, status);
  if (slot == Slot::control) do_console_controls();
  pump_console();
}

void UsbBus::note_control_success(const Urb& urb) {
  if (urb.setup[0] == 0x00 && urb.setup[1] == 9) configuration_ = urb.setup[2];
}

bool UsbBus::control_now(const std::array<uint8_t, 8>& setup, std::vector<uint8_t>& data) {
  int naks = 0;
  auto tried = [&](auto transaction) {
    while (true) {
      const native_handshake_t handshake = transaction();
      note(device_.settle());
      if (handshake == NATIVE_ACK) return true;
      if (handshake == NATIVE_STALL || ++naks > MAX_NAKS_NOW) return false;
    }
  };
  const bool in = (setup[0] & 0x80) != 0;
  const uint16_t length = setup_length(setup);
  if (!tried([&] { return device_.usb_setup(setup.data()); })) return false;
  uint8_t packet[PACKET_BYTES];
  uint16_t got = 0;
  auto receive = [&] {
    got = 0;
    return device_.usb_in(0, packet, sizeof packet, &got);
  };
  if (in) data.clear();
  size_t done = 0;
  while (done < length) {
    if (in) {
      if (!tried(receive)) return false;
      const size_t taken = std::min<size_t>(got, length - done);
      data.insert(data.end(), packet, packet + taken);
      done += taken;
      if (got < PACKET_BYTES) break;
    } else {
      const size_t chunk = std::min<size_t>(PACKET_BYTES, length - done);
      if (!tried([&] { return device_.usb_out(0, data.data() + done, static_cast<uint16_t>(chunk)); })) return false;
      done += chunk;
    }
  }
  if (in && length != 0) return tried([this] { return device_.usb_out(0, nullptr, 0); });
  return tried(receive);
}

void UsbBus::do_console_controls() {
  auto& pending = queue(Slot::control);
  const bool moved_before = firmware_moved_;  // what the console does is no reason to let time pass
  while (slot_ != Slot::control && !pending.empty() && !takes_time(pending.front())) {
    Urb urb = std::move(pending.front());
    pending.pop_front();
    const bool in = (urb.setup[0] & 0x80) != 0;
    const bool good = control_now(urb.setup, urb.data);
    if (in && urb.data.size() > urb.length) urb.data.resize(urb.length);
    urb.actual = !good ? 0 : in ? static_cast<uint32_t>(urb.data.size()) : urb.length;
    if (!good && in) urb.data.clear();
    if (completion_) completion_(urb, good ? USB_OK : USB_STALLED);
  }
  firmware_moved_ = moved_before;
}

void UsbBus::pump_console() {
  const bool moved_before = firmware_moved_;
  console_stale_ = false;
  bool moved = !console_.empty();
  while (moved) {
    moved = false;
    for (size_t index = 0; index < console_.size();) {
      Urb& urb = console_[index];
      // Of several URBs for one endpoint only the first is served.
      const bool behind = std::any_of(console_.begin(), console_.begin() + static_cast<std::ptrdiff_t>(index), [&](const Urb& other) {
        return other.endpoint == urb.endpoint && other.in == urb.in;
      });
      if (behind) {
        ++index;
        continue;
      }
      native_handshake_t handshake;
      bool done = false;
      int32_t status = USB_OK;
      if (urb.in) {
        uint8_t packet[PACKET_BYTES];
        uint16_t got = 0;
        handshake = device_.usb_in(urb.endpoint, packet, sizeof packet, &got);
        if (handshake == NATIVE_ACK) {
          const uint32_t taken = std::min<uint32_t>(got, urb.length - urb.actual);
          urb.data.insert(urb.data.end(), packet, packet + taken);
          urb.actual += taken;
          done = got < PACKET_BYTES || urb.actual >= urb.length;
          if (taken < got) status = USB_OVERFLOW;
        }
      } else {
        const uint32_t length = std::min(PACKET_BYTES, urb.length - urb.actual);
        handshake = device_.usb_out(urb.endpoint, urb.data.data() + urb.actual, static_cast<uint16_t>(length));
        if (handshake == NATIVE_ACK) {
          urb.actual += length;
          done = urb.actual == urb.length;
        }
      }
      if (handshake == NATIVE_STALL) {
        done = true;
        status = USB_STALLED;
      }
      if (handshake != NATIVE_NAK) {
        moved = true;
        note(device_.settle());
      }
      if (!done) {
        ++index;
        continue;
      }
      const Urb finished = std::move(urb);
      console_.erase(console_.begin() + static_cast<std::ptrdiff_t>(index));
      if (completion_) completion_(finished, status);
    }
  }
  firmware_moved_ = moved_before;
}

}  // namespace twin
