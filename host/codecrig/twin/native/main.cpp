// codecrig-twin: a simulated codecrig board behind USB/IP on the loopback interface. One process, one thread.
//
// Prints one line of JSON with its ports on standard output, logs on standard error. Ends on the control operation `quit`, on
// SIGTERM, on end of file at standard input (with --watch-stdin), or by itself with exit code 3 when the board is dead.

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "board.h"
#include "control.h"
#include "hardware.h"
#include "usbip_server.h"

namespace {

using namespace twin;
using Clock = std::chrono::steady_clock;

constexpr int EXIT_USAGE = 2;
constexpr int EXIT_DEAD = 3;

// Board time between two looks at the sockets while time flows. Short enough for a prompt answer on the control channel.
constexpr Units SLICE = 500 * UNITS_PER_MICROSECOND;
// A WAIT lasts at most 2^31 - 1 ticks; a second more is time for the answer.
constexpr Units LONGEST_WAIT = ((1ull << 31) + 12288000) * UNITS_PER_TICK;

struct Options {
  Board::Settings board;
  CodecSettings codec;
  uint16_t port = 0;
  uint16_t control_port = 0;
  bool real_pace = false;
  bool watch_stdin = false;
  double guard_seconds = 60;
  uint64_t self_check = 0;
  uint64_t benchmark = 0;
};

[[noreturn]] void usage(const std::string& problem) {
  std::fprintf(stderr,
               "codecrig-twin: %s\n"
               "usage: codecrig-twin [--port N] [--control-port N] [--clock-ppm X] [--pace virtual|real] [--trace FILE]\n"
               "  [--serial N] [--gain-q16 N] [--noise-lsb N] [--dc-lsb N] [--delay-frames N] [--disconnected]\n"
               "  [--emulator MAIN.JS --firmware ELF] [--defect BIT] [--watch-stdin] [--guard-seconds X] [--self-check EDGES] [--benchmark TICKS]\n",
               problem.c_str());
  std::exit(EXIT_USAGE);
}

int64_t whole(const std::string& name, const char* text, int64_t lowest, int64_t highest) {
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text, &end, 0);
  if (errno != 0 || end == text || *end != 0 || value < lowest || value > highest)
    usage(name + ": expected an integer from " + std::to_string(lowest) + " to " + std::to_string(highest) + ", found '" + text + "'");
  return value;
}

double decimal(const std::string& name, const char* text, double lowest, double highest) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != 0 || !(value >= lowest && value <= highest))
    usage(name + ": expected a number from " + std::to_string(lowest) + " to " + std::to_string(highest) + ", found '" + text + "'");
  return value;
}

Options parse(int count, char** arguments) {
  Options options;
  for (int index = 1; index < count; ++index) {
    const std::string name = arguments[index];
    if (name == "--watch-stdin") {
      options.watch_stdin = true;
      continue;
    }
    if (name == "--disconnected") {
      options.codec.connected = false;
      continue;
    }
    if (++index >= count) usage("unknown option, or value missing: " + name);
    const char* const value = arguments[index];
    if (name == "--port") options.port = static_cast<uint16_t>(whole(name, value, 0, 65535));
    else if (name == "--control-port") options.control_port = static_cast<uint16_t>(whole(name, value, 0, 65535));
    else if (name == "--clock-ppm") options.board.clock_ppm_micro = std::llround(decimal(name, value, -500000, 500000) * 1e6);
    else if (name == "--serial") options.board.serial = std::strtoull(value, nullptr, 0);
    else if (name == "--defect") options.board.defect = static_cast<int>(whole(name, value, 0, 31));
    else if (name == "--trace") options.board.trace_file = value;
    else if (name == "--emulator") options.board.emulator = value;
    else if (name == "--firmware") options.board.firmware = value;
    else if (name == "--gain-q16") options.codec.gain_q16 = whole(name, value, -(1 << 24), 1 << 24);
    else if (name == "--noise-lsb") options.codec.noise_lsb = static_cast<int32_t>(whole(name, value, 0, 1 << 23));
    else if (name == "--dc-lsb") options.codec.dc_lsb = static_cast<int32_t>(whole(name, value, -(1 << 23), 1 << 23));
    else if (name == "--delay-frames") options.codec.delay_frames = static_cast<uint32_t>(whole(name, value, 0, CodecSettings::MAX_DELAY_FRAMES));
    else if (name == "--guard-seconds") options.guard_seconds = decimal(name, value, 0.1, 1e6);
    else if (name == "--self-check") options.self_check = static_cast<uint64_t>(whole(name, value, 1, INT64_MAX));
    else if (name == "--benchmark") options.benchmark = static_cast<uint64_t>(whole(name, value, 1, INT64_MAX));
    else if (name == "--pace" && std::strcmp(value, "real") == 0) options.real_pace = true;
    else if (name == "--pace" && std::strcmp(value, "virtual") == 0) options.real_pace = false;
    else usage("unknown option or value: " + name + " " + value);
  }
  return options;
}

volatile sig_atomic_t terminated = 0;

void on_terminate(int) { terminated = 1; }

// The main loop comes round every few milliseconds; if it does not, the model or the firmware hangs inside one step.
void on_alarm(int) {
  static const char message[] = "dead: one step of the simulation did not end within the guard time; the twin gives up\n";
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, message, sizeof message - 1);
  ::_exit(EXIT_DEAD);
}

class Program {
 public:
  explicit Program(const Options& options)
      : options_(options), board_(options.board), usbip_(board_.bus, options.port), control_(board_, usbip_, options.control_port) {
    board_.hardware.codec.set(options.codec);
  }

  int run() {
    std::printf("{\"usbip_port\":%u,\"control_port\":%u,\"pid\":%d}\n", usbip_.listener().port(), control_.listener().port(), static_cast<int>(::getpid()));
    std::fflush(stdout);
    log_line("ready: usbip on 127.0.0.1:%u, control on 127.0.0.1:%u", usbip_.listener().port(), control_.listener().port());
    last_progress_wall_ = Clock::now();
    while (!control_.quit() && terminated == 0) {
      if (!exchange(!board_.wants_time())) break;
      if (!board_.wants_time()) {
        flowing_ = false;
        continue;
      }
      const auto begin = Clock::now();
      if (!flowing_) {
        flowing_ = true;
        last_progress_wall_ = begin;
        anchor_wall_ = begin;
        anchor_units_ = board_.hardware.now();
      }
      board_.run(SLICE);
      const auto end = Clock::now();
      control_.running_ns += static_cast<uint64_t>(std::chrono::nanoseconds(end - begin).count());
      if (!guard(end)) return EXIT_DEAD;
    }
    log_line("ends after %llu ticks", static_cast<unsigned long long>(board_.hardware.ticks()));
    return 0;
  }

 private:
  // Serves the sockets; waits for something if `block`. Returns false when the program should end.
  bool exchange(bool block) {
    board_.service_console();
    if (board_.left()) usbip_.unplug();
    int timeout_ms = block ? -1 : 0;
    if (!block && options_.real_pace) timeout_ms = pace();
    polled_.clear();
    auto add = [this](int descriptor, bool write) {
      polled_.push_back({descriptor, static_cast<short>(write ? POLLIN | POLLOUT : POLLIN), 0});
    };
    add(options_.watch_stdin ? STDIN_FILENO : -1, false);
    add(usbip_.listener().descriptor(), false);
    add(control_.listener().descriptor(), false);
    const size_t first = polled_.size();
    for (const auto& one : usbip_.connections()) add(one->descriptor(), one->wants_write());
    const size_t middle = polled_.size();
    for (const auto& one : control_.connections()) add(one->descriptor(), one->wants_write());

    ::alarm(block ? 0 : static_cast<unsigned>(std::ceil(options_.guard_seconds)) + 1);
    const int ready = ::poll(polled_.data(), polled_.size(), timeout_ms);
    if (block) ::alarm(static_cast<unsigned>(std::ceil(options_.guard_seconds)) + 1);
    if (ready <= 0) return true;

    if (polled_[0].revents != 0) {
      char ignored[256];
      if (::read(STDIN_FILENO, ignored, sizeof ignored) == 0) return false;
    }
    // Connections first: a peer that left must be gone before the next one asks for the device.
    for (size_t index = first; index < middle; ++index) {
      Connection& one = *usbip_.connections()[index - first];
      if ((polled_[index].revents & POLLOUT) != 0) one.flush();
      if ((polled_[index].revents & ~POLLOUT) != 0) usbip_.handle_input(one);
    }
    usbip_.flush();
    usbip_.drop_closed();
    for (size_t index = middle; index < polled_.size(); ++index) {
      Connection& one = *control_.connections()[index - middle];
      if ((polled_[index].revents & POLLOUT) != 0) one.flush();
      if ((polled_[index].revents & ~POLLOUT) != 0) control_.handle_input(one);
    }
    control_.drop_closed();
    if (polled_[1].revents != 0) usbip_.accept();
    if (polled_[2].revents != 0) control_.accept();
    return true;
  }

  // Milliseconds to sleep so that board time does not run ahead of the wall clock.
  int pace() {
    const auto wall = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - anchor_wall_).count();
    const auto board = static_cast<int64_t>((board_.hardware.now() - anchor_units_) / UNITS_PER_MICROSECOND);
    if (board < wall - 50000) {  // too slow, or stood still: start again from here, do not catch up
      anchor_wall_ = Clock::now();
      anchor_units_ = board_.hardware.now();
      return 0;
    }
    return board > wall ? static_cast<int>((board - wall) / 1000) : 0;
  }

  bool guard(Clock::time_point wall) {
    const uint64_t progress = board_.progress();
    if (progress != last_progress_) {
      last_progress_ = progress;
      last_progress_wall_ = wall;
      last_progress_units_ = board_.hardware.now();
      return true;
    }
    if (std::chrono::duration<double>(wall - last_progress_wall_).count() < options_.guard_seconds) return true;
    if (board_.waiting_for_attention() && board_.hardware.now() - last_progress_units_ < LONGEST_WAIT) return true;
    log_line("dead: nothing moved on the USB bus and on the serial link for %.0f s of wall clock (board time %.3f s); the twin gives up",
             options_.guard_seconds, static_cast<double>(board_.hardware.now()) / 1.536e9);
    return false;
  }

  Options options_;
  Board board_;
  UsbipServer usbip_;
  ControlServer control_;
  std::vector<pollfd> polled_;
  bool flowing_ = false;
  uint64_t last_progress_ = 0;
  Units last_progress_units_ = 0;
  Clock::time_point last_progress_wall_;
  Clock::time_point anchor_wall_;
  Units anchor_units_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
  const Options options = parse(count, arguments);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGINT, SIG_IGN);  // Ctrl-C is the client's to handle: it still has streams to stop
  ::signal(SIGTERM, on_terminate);
  ::signal(SIGALRM, on_alarm);
  try {
    if (options.self_check != 0) {
      const std::string difference = Hardware::self_check(options.self_check, options.board.serial);
      std::printf("%s\n", difference.empty() ? "same" : difference.c_str());
      return difference.empty() ? 0 : 1;
    }
    if (options.benchmark != 0) {
      const uint64_t begin = process_ns();
      const uint64_t frames = Hardware::exercise(options.benchmark);
      const double seconds = static_cast<double>(process_ns() - begin) * 1e-9;
      std::printf("{\"frames\":%llu,\"cpu_seconds\":%.3f,\"mcycles_per_second\":%.3f}\n", static_cast<unsigned long long>(frames), seconds,
                  static_cast<double>(options.benchmark) / seconds * 1e-6);
      return 0;
    }
    Program program(options);
    return program.run();
  } catch (const std::exception& problem) {
    log_line("failed: %s", problem.what());
    return 1;
  }
}
