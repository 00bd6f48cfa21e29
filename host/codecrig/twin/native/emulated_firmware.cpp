#include "emulated_firmware.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace twin {
namespace {

constexpr Units STEP = 10 * UNITS_PER_MICROSECOND;
constexpr Units LONGEST_BOOT = 200000 * UNITS_PER_MICROSECOND;
constexpr Units E15_WINDOW = 220 * UNITS_PER_MICROSECOND;
constexpr Units LONGEST_SETTLING = 20000 * UNITS_PER_MICROSECOND;

constexpr uint8_t STATE_BUSY = 1, STATE_ATTACHED = 2, STATE_LEFT = 4, STATE_ASLEEP = 8;

// 1 ns is 1.536 units.
Units from_nanoseconds(uint64_t nanoseconds) {
  return static_cast<Units>(static_cast<unsigned __int128>(nanoseconds) * 192 / 125);
}
uint64_t to_nanoseconds(Units units) {  // rounded up, so that a moment reached is not before it
  return static_cast<uint64_t>((static_cast<unsigned __int128>(units) * 125 + 191) / 192);
}

}  // namespace

EmulatedFirmware::EmulatedFirmware(Hardware& hardware, Configuration& configuration, const HostClock& clock, const std::string& emulator,
                                   const std::string& elf, uint64_t serial)
    : hardware_(hardware), configuration_(configuration), clock_(clock), emulator_(emulator), elf_(elf), serial_(std::to_string(serial)) {
  start();
}

void EmulatedFirmware::power_up() {
  stop();
  hardware_.spi_select(false);
  begin_ = now_ = wake_ = hardware_.now();
  asleep_ = answering_ = attached_ = left_ = false;
  lines_ = 0;
  start();
}

void EmulatedFirmware::start() {
  int down[2], up[2];
  if (::pipe(down) != 0 || ::pipe(up) != 0) throw std::runtime_error("no pipe to the emulator");
  process_ = ::fork();
  if (process_ < 0) throw std::runtime_error("no process for the emulator");
  if (process_ == 0) {
    ::dup2(down[0], STDIN_FILENO);
    ::dup2(up[1], STDOUT_FILENO);
    for (const int descriptor : {down[0], down[1], up[0], up[1]}) ::close(descriptor);
    ::signal(SIGINT, SIG_IGN);
    ::execlp("node", "node", emulator_.c_str(), elf_.c_str(), serial_.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(down[0]);
  ::close(up[1]);
  to_ = down[1];
  from_ = up[0];
  while (!attached_) {
    if (now_ - begin_ > LONGEST_BOOT) throw std::runtime_error("the firmware in the emulator does not attach to the bus");
    run_to(now_ + 1000 * UNITS_PER_MICROSECOND);
  }
  catch_up(now_);
}

EmulatedFirmware::~EmulatedFirmware() { stop(); }

void EmulatedFirmware::stop() {
  ::close(to_);
  ::close(from_);
  if (process_ > 0) {
    ::kill(process_, SIGTERM);
    ::waitpid(process_, nullptr, 0);
  }
}

bool EmulatedFirmware::advance(Units until) {
  const Units start_of_frame = clock_.to_board(frame_ * HOST_UNITS_PER_FRAME);
  Units target = std::min(until, std::max(start_of_frame, hardware_.now()));
  const bool asleep = asleep_ && lines() == lines_;
  if (asleep) {
    target = std::min(target, std::max(wake_, hardware_.now()));
    hardware_.advance(target);  // to an earlier moment if the attention line moves
  } else {
    target = std::min(target, std::max(now_, hardware_.now()) + STEP);
    run_to(target);
    catch_up(target);
  }
  if (asleep_ && (hardware_.now() >= wake_ || lines() != lines_)) asleep_ = false;
  if (hardware_.now() >= start_of_frame) {
    run_to(hardware_.now());
    const uint8_t bytes[3] = {'F', static_cast<uint8_t>(frame_), static_cast<uint8_t>(frame_ >> 8 & 7)};
    command(bytes, sizeof bytes);
    ++frame_;
  }
  return !asleep || !asleep_;  // awake: it may have done anything
}

bool EmulatedFirmware::settle() {
  go_to_sleep();
  // Erratum E15: what the firmware has for the host in the last fifth of a frame waits for the start of the next one.
  const Units start_of_frame = clock_.to_board(frame_ * HOST_UNITS_PER_FRAME);
  if (hardware_.now() + E15_WINDOW >= start_of_frame) {
    while (hardware_.now() < start_of_frame) advance(start_of_frame);
    go_to_sleep();
  }
  return false;
}

void EmulatedFirmware::go_to_sleep() {
  const Units end = hardware_.now() + LONGEST_SETTLING;
  do {
    advance(hardware_.now() + STEP);
  } while (!(asleep_ && lines() == lines_) && hardware_.now() < end);
}

native_handshake_t EmulatedFirmware::usb_setup(const uint8_t setup[8]) {
  run_to(hardware_.now());
  std::array<uint8_t, 9> bytes{'S'};
  std::copy(setup, setup + 8, bytes.begin() + 1);
  command(bytes.data(), bytes.size());
  return NATIVE_ACK;
}

native_handshake_t EmulatedFirmware::usb_out(uint8_t endpoint, const uint8_t* data, uint16_t length) {
  run_to(hardware_.now());
  std::vector<uint8_t> bytes{'O', endpoint, static_cast<uint8_t>(length)};
  bytes.insert(bytes.end(), data, data + length);
  write_all(bytes.data(), bytes.size());
  return handshake();
}

native_handshake_t EmulatedFirmware::usb_in(uint8_t endpoint, uint8_t* data, uint16_t capacity, uint16_t* length) {
  run_to(hardware_.now());
  const uint8_t bytes[2] = {'I', endpoint};
  write_all(bytes, sizeof bytes);
  const native_handshake_t answer = handshake();
  *length = 0;
  if (answer == NATIVE_ACK) {
    std::array<uint8_t, 256> packet{};
    const uint8_t got = read_byte();
    read_all(packet.data(), got);
    *length = std::min<uint16_t>(got, capacity);
    std::copy(packet.begin(), packet.begin() + *length, data);
  }
  return answer;
}

std::string EmulatedFirmware::statistics() {
  write_all("Q", 1);
  if (read_byte() != 'Q') throw std::runtime_error("the emulator did not tell its statistics");
  const uint64_t errors = read_u64(), instructions = read_u64(), cycles = read_u64(), stack = read_u64();
  const auto field = [](const char* name, uint64_t value) { return std::string("\"") + name + "\":" + std::to_string(value); };
  return "{" + field("sequence_errors", errors & 0xFFFFFFFF) + "," + field("overflows", errors >> 32) + "," +
         field("instructions", instructions) + "," + field("cycles_awake", cycles) + "," +
         field("stack_used", stack & 0xFFFFFFFF) + "," + field("stack_bytes", stack >> 32) + "}";
}

// ---- lock-step

void EmulatedFirmware::run_to(Units until) {
  if (until <= now_ && asleep_ && lines() == lines_) return;
  std::array<uint8_t, 10> bytes{'R'};
  const uint64_t nanoseconds = to_nanoseconds(until - begin_);
  for (int index = 0; index < 8; ++index) bytes[1 + index] = static_cast<uint8_t>(nanoseconds >> (8 * index));
  bytes[9] = lines_ = lines();
  write_all(bytes.data(), bytes.size());
  for (char what = static_cast<char>(read_byte()); what != 'D'; what = static_cast<char>(read_byte())) serve(what);
  now_ = std::max(begin_ + from_nanoseconds(read_u64()), until);
  const uint8_t state = read_byte();
  wake_ = begin_ + from_nanoseconds(read_u64());
  answering_ = (state & STATE_BUSY) != 0;
  attached_ = (state & STATE_ATTACHED) != 0;
  left_ = (state & STATE_LEFT) != 0;
  asleep_ = (state & STATE_ASLEEP) != 0;
}

void EmulatedFirmware::catch_up(Units until) {
  while (hardware_.now() < until) hardware_.advance(until);
}

// What the firmware does at its pins.
void EmulatedFirmware::serve(char what) {
  const Units at = begin_ + from_nanoseconds(read_u64());
  const uint8_t value = read_byte();  // a level, or how many bytes follow
  catch_up(at);
  if (what == 'T' || what == 'Z') {
    std::array<uint8_t, 256> out{}, in{};
    read_all(out.data(), value);
    if (what == 'Z') {
      configuration_.clock_in(out.data(), value, at);
    } else {
      hardware_.spi_start(out.data(), in.data(), value);
      while (hardware_.spi_busy()) hardware_.advance(hardware_.now() + STEP);
      write_all(in.data(), value);
    }
  } else if (what == 'C') {
    hardware_.spi_select(value != 0);
  } else if (what == 'X') {
    configuration_.reset(value != 0, at);
  } else if (what == 'Y') {
    configuration_.select(value != 0);
  } else {
    throw std::runtime_error(std::string("the emulator said '") + what + "', which means nothing");
  }
  lines_ = lines();
  write_all(&lines_, 1);
}

uint8_t EmulatedFirmware::lines() const {
  return static_cast<uint8_t>((hardware_.attention() ? 1 : 0) | (configuration_.done() ? 2 : 0));
}

void EmulatedFirmware::command(const void* bytes, size_t length) {
  write_all(bytes, length);
  if (read_byte() != 'K') throw std::runtime_error("the emulator did not carry out a command");
  asleep_ = false;
}

native_handshake_t EmulatedFirmware::handshake() {
  const char answer = static_cast<char>(read_byte());
  if (answer != 'N') asleep_ = false;
  return answer == 'A' ? NATIVE_ACK : answer == 'N' ? NATIVE_NAK : NATIVE_STALL;
}

void EmulatedFirmware::write_all(const void* bytes, size_t length) {
  const auto* at = static_cast<const uint8_t*>(bytes);
  while (length > 0) {
    const ssize_t done = ::write(to_, at, length);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) throw std::runtime_error("the emulator has ended (is node installed, and npm ci run in firmware/emulator?)");
    at += done;
    length -= static_cast<size_t>(done);
  }
}

void EmulatedFirmware::read_all(void* bytes, size_t length) {
  auto* at = static_cast<uint8_t*>(bytes);
  while (length > 0) {
    const ssize_t done = ::read(from_, at, length);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) throw std::runtime_error("the emulator has ended (is node installed, and npm ci run in firmware/emulator?)");
    at += done;
    length -= static_cast<size_t>(done);
  }
}

uint8_t EmulatedFirmware::read_byte() {
  uint8_t byte = 0;
  read_all(&byte, 1);
  return byte;
}

uint64_t EmulatedFirmware::read_u64() {
  std::array<uint8_t, 8> bytes{};
  read_all(bytes.data(), bytes.size());
  uint64_t value = 0;
  for (int index = 7; index >= 0; --index) value = value << 8 | bytes[static_cast<size_t>(index)];
  return value;
}

}  // namespace twin
