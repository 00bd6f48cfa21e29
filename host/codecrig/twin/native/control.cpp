#include "control.h"

#include <algorithm>
#include <cstring>

namespace twin {
namespace {

// A text from a list, as the index in it.
size_t choice(const Json& request, const std::string& key, const std::vector<std::string>& accepted) {
  const std::string& value = request.string(key);
  const auto found = std::find(accepted.begin(), accepted.end(), value);
  if (found != accepted.end()) return static_cast<size_t>(found - accepted.begin());
  std::string list;
  for (const auto& one : accepted) list += (list.empty() ? "" : ", ") + one;
  throw JsonError("'" + key + "': '" + value + "' is none of: " + list);
}

std::string field(const char* name, uint64_t value) { return "\"" + std::string(name) + "\":" + std::to_string(value); }
std::string field(const char* name, int64_t value) { return "\"" + std::string(name) + "\":" + std::to_string(value); }
std::string field(const char* name, bool value) { return "\"" + std::string(name) + "\":" + (value ? "true" : "false"); }

}  // namespace

void ControlServer::accept() {
  for (int peer = listener_.accept_one(); peer >= 0; peer = listener_.accept_one())
    connections_.push_back(std::make_unique<Connection>(peer));
}

void ControlServer::drop_closed() {
  connections_.erase(std::remove_if(connections_.begin(), connections_.end(), [](const auto& one) { return !one->open(); }),
                     connections_.end());
}

void ControlServer::handle_input(Connection& connection) {
  connection.receive();
  while (connection.open()) {
    const char* const input = reinterpret_cast<const char*>(connection.input());
    const size_t size = connection.input_size();
    const void* const newline = size == 0 ? nullptr : std::memchr(input, '\n', size);
    if (newline == nullptr) {
      if (size > MAX_LINE_BYTES) {
        log_line("control: a line of more than %zu bytes; connection closed", MAX_LINE_BYTES);
        connection.close();
      }
      return;
    }
    const size_t length = static_cast<size_t>(static_cast<const char*>(newline) - input);
    const std::string reply = reply_to({input, length}) + "\n";
    connection.consume(length + 1);
    connection.send(reply.data(), reply.size());
    connection.flush();
  }
}

std::string ControlServer::reply_to(std::string_view line) {
  try {
    const Json request = Json::parse(line);
    if (request.type != Json::Type::object) throw JsonError("expected an object with 'op'");
    const std::string fields = perform(request.string("op"), request);
    return "{\"ok\":true" + (fields.empty() ? "" : "," + fields) + "}";
  } catch (const std::exception& problem) {
    return "{\"ok\":false,\"error\":" + json_quote(problem.what()) + "}";
  }
}

std::string ControlServer::perform(const std::string& operation, const Json& request) {
  if (operation == "host_time") return field("ns", board_.host_clock.nanoseconds(board_.hardware.now()));
  if (operation == "status") return status();
  if (operation == "codec") return codec(request);
  if (operation == "tap") return tap(request);
  if (operation == "inject") return inject(request);
  if (operation == "trigger") return trigger(request);
  if (operation == "cable") return cable(request);
  if (operation == "midi") return midi(request);
  if (operation == "spdif") return spdif(request);
  if (operation == "fault") return fault(request);
  if (operation == "fpga") {
    board_.configuration.set_done(request.flag("configured"));
    return "";
  }
  if (operation == "power") {
    choice(request, "action", {"cycle"});
    usbip_.unplug();
    board_.power_up();
    usbip_.plug();
    return "";
  }
  if (operation == "usb") {
    choice(request, "action", {"unplug", "plug"}) == 0 ? usbip_.unplug() : usbip_.plug();
    return field("plugged", usbip_.plugged());
  }
  if (operation == "quit") {
    quit_ = true;
    return "";
  }
  throw JsonError("'op': '" + operation +
                  "' is none of: host_time, status, codec, tap, inject, trigger, cable, fault, midi, spdif, fpga, power, usb, quit");
}

std::string ControlServer::status() const {
  const auto& usb = board_.bus.counters();
  const Units now = board_.hardware.now();
  const uint64_t frames = board_.host_clock.to_host(now) / HOST_UNITS_PER_FRAME;
  const std::string microcontroller = board_.microcontroller_statistics();
  return field("ticks", board_.hardware.ticks()) + "," + field("units", now) + "," +
         field("host_ns", board_.host_clock.nanoseconds(now)) + "," + field("cycles", board_.hardware.ticks()) + "," +
         field("sck_edges", board_.hardware.sck_edges()) + "," + field("spi_bytes", board_.hardware.spi_bytes()) + "," +
         field("codec_frames", board_.hardware.codec.frames()) + "," + field("running_ns", running_ns) + "," +
         field("cpu_ns", process_ns()) + "," +
         field("plugged", usbip_.plugged()) + "," + field("imported", usbip_.imported()) + ",\"usb\":{" +
         field("out_bytes", usb.out_bytes) + "," + field("in_bytes", usb.in_bytes) + "," + field("naks", usb.naks) + "," +
         field("out_packets", usb.out_packets) + "," + field("in_packets", usb.in_packets) + "," + field("out_naks", usb.out_naks) + "," +
         field("in_naks", usb.in_naks) + "," +
         field("frames", frames) + "," + field("busy_units", usb.busy_units) + "," + field("total_units", now) + "," +
         field("completions", usbip_.completions()) + "}" + (microcontroller.empty() ? "" : ",\"microcontroller\":" + microcontroller);
}

std::string ControlServer::codec(const Json& request) {
  CodecSettings settings = board_.hardware.codec.settings();
  if (request.find("gain_q16")) settings.gain_q16 = request.integer("gain_q16", -(1 << 24), 1 << 24);
  if (request.find("noise_lsb")) settings.noise_lsb = static_cast<int32_t>(request.integer("noise_lsb", 0, 1 << 23));
  if (request.find("dc_lsb")) settings.dc_lsb = static_cast<int32_t>(request.integer("dc_lsb", -(1 << 23), 1 << 23));
  if (request.find("delay_frames"))
    settings.delay_frames = static_cast<uint32_t>(request.integer("delay_frames", 0, CodecSettings::MAX_DELAY_FRAMES));
  if (request.find("connected")) settings.connected = request.flag("connected");
  board_.hardware.codec.set(settings);
  return field("gain_q16", settings.gain_q16) + "," + field("noise_lsb", static_cast<int64_t>(settings.noise_lsb)) + "," +
         field("dc_lsb", static_cast<int64_t>(settings.dc_lsb)) + "," +
         field("delay_frames", static_cast<uint64_t>(settings.delay_frames)) + "," + field("connected", settings.connected);
}

std::string ControlServer::tap(const Json& request) {
  Codec& codec = board_.hardware.codec;
  switch (choice(request, "action", {"start", "stop", "read"})) {
    case 0: codec.tap_start(); return "";
    case 1: codec.tap_stop(); return "";
    default: break;
  }
  uint64_t tick = 0, dropped = 0;
  const std::vector<int32_t> samples = codec.tap_take(tick, dropped);
  return "\"samples\":\"" + base64_encode(reinterpret_cast<const uint8_t*>(samples.data()), samples.size() * 4) + "\"," +
         field("frames", static_cast<uint64_t>(samples.size() / 2)) + "," + field("tick", tick) + "," +
         field("dropped", dropped) + "," + field("adc_frames", codec.tap_adc_frames()) + "," + field("running", codec.tapping());
}

std::string ControlServer::inject(const Json& request) {
  const std::vector<uint8_t> bytes = base64_decode(request.string("samples"));
  if (bytes.size() % 8 != 0) throw JsonError("'samples': expected whole stereo frames of 8 bytes, found " + std::to_string(bytes.size()) + " bytes");
  std::vector<StereoSample> frames(bytes.size() / 8);
  for (size_t index = 0; index < frames.size(); ++index) {
    int32_t pair[2];
    std::memcpy(pair, bytes.data() + index * 8, sizeof pair);
    frames[index] = {pair[0] >> 8, pair[1] >> 8};
  }
  board_.hardware.codec.inject(frames);
  return field("queued", static_cast<uint64_t>(board_.hardware.codec.injected_left()));
}

std::string ControlServer::trigger(const Json& request) {
  if (request.find("level")) board_.hardware.set_trigger_in(request.flag("level"));
  std::string edges;
  for (const uint64_t tick : board_.hardware.trigger_out_edges()) edges += (edges.empty() ? "" : ",") + std::to_string(tick);
  return field("out", board_.hardware.trigger_out()) + ",\"out_edges\":[" + edges + "]";
}

std::string ControlServer::cable(const Json& request) {
  static const std::vector<std::string> FAULTS = {"none", "open", "stuck0", "stuck1", "swap"};
  const LineFault fault = static_cast<LineFault>(choice(request, "fault", FAULTS));
  const size_t line = request.find("line") ? choice(request, "line", {"dac", "adc", "both"}) : 2;
  board_.hardware.codec.set_fault(line != 1 ? fault : LineFault::none, line != 0 ? fault : LineFault::none);
  return "";
}

// What a bench may find broken. Faults add up until `none`.
std::string ControlServer::fault(const Json& request) {
  static const std::vector<std::string> FAULTS = {
      "none", "bit-clock-stuck", "word-clock-stuck", "dac-data-stuck", "adc-data-stuck", "channels-swapped", "bit-clock-inverted", "slot-early",
      "slot-late", "codec-dead", "memory-bit", "serial-bit-errors", "other-bitstream", "foreign-bitstream", "no-fpga", "done-low"};
  const size_t number = choice(request, "name", FAULTS);
  const bool level = request.find("level") && request.flag("level");
  const LineFault stuck = level ? LineFault::stuck1 : LineFault::stuck0;
  Hardware& hardware = board_.hardware;
  switch (number) {
    case 0:
      codec_faults_ = {};
      hardware.codec.set_fault(LineFault::none, LineFault::none);
      hardware.mend();
      board_.configuration.mend();
      break;
    case 1: codec_faults_.bit_clock = stuck; break;
    case 2: codec_faults_.word_clock = stuck; break;
    case 3: hardware.codec.set_fault(stuck, LineFault::none); break;
    case 4: hardware.codec.set_fault(LineFault::none, stuck); break;
    case 5: hardware.codec.set_fault(LineFault::none, LineFault::swap); break;
    case 6: codec_faults_.inverted = true; break;
    case 7: codec_faults_.slot = -1; break;
    case 8: codec_faults_.slot = 1; break;
    case 9: codec_faults_.dead = true; break;
    case 10: {
      const int64_t address = request.integer("address", 0, 0x1FFFF), bit = request.integer("bit", 0, 7);
      hardware.break_cell(static_cast<uint32_t>(address), static_cast<uint32_t>(bit), level);
      break;
    }
    case 11:
      hardware.disturb_serial(choice(request, "line", {"miso", "mosi"}) == 1, static_cast<uint32_t>(request.integer("every", 1, 1 << 30)));
      break;
    case 12: board_.configuration.set_design(static_cast<uint32_t>(request.integer("build", 0, 0xFFFFFFFF))); break;
    case 13: board_.configuration.set_foreign_design(); break;
    case 14: board_.configuration.set_fault(Configuration::Fault::absent); break;
    default: board_.configuration.set_fault(Configuration::Fault::not_done); break;
  }
  hardware.codec.set_faults(codec_faults_);
  return "";
}

std::string ControlServer::midi(const Json& request) {
  Hardware& hardware = board_.hardware;
  switch (choice(request, "action", {"read", "send", "loop"})) {
    case 1: {
      const std::vector<uint8_t> bytes = base64_decode(request.string("bytes"));
      // Of the first byte; the others follow at once.
      const int64_t tick = request.find("tick") ? request.integer("tick", 0, INT64_MAX / 1000) : 0;
      for (const uint8_t byte : bytes) hardware.midi_send(static_cast<uint64_t>(tick), byte);
      return field("pending", static_cast<uint64_t>(hardware.midi().pending()));
    }
    case 2: hardware.midi_loop(request.flag("connected")); return "";
    default: break;
  }
  std::vector<uint8_t> values;
  std::string ticks, broken;
  for (const MidiWires::Byte& byte : hardware.midi_take()) {
    ticks += (values.empty() ? "" : ",") + std::to_string(byte.tick);
    if (!byte.stop_good) broken += (broken.empty() ? "" : ",") + std::to_string(values.size());
    values.push_back(byte.value);
  }
  return "\"bytes\":\"" + base64_encode(values.data(), values.size()) + "\",\"ticks\":[" + ticks + "],\"broken\":[" + broken + "]," +
         field("pending", static_cast<uint64_t>(hardware.midi().pending()));
}

std::string ControlServer::spdif(const Json& request) {
  SpdifReceiver& receiver = board_.hardware.spdif;
  switch (choice(request, "action", {"start", "stop", "read"})) {
    case 0: receiver.start(); return "";
    case 1: receiver.stop(); return "";
    default: break;
  }
  const SpdifReceiver::Frames frames = receiver.take();
  return "\"samples\":\"" + base64_encode(reinterpret_cast<const uint8_t*>(frames.samples.data()), frames.samples.size() * 4) +
         "\",\"flags\":\"" + base64_encode(frames.flags.data(), frames.flags.size()) + "\"," + field("tick", frames.first_tick) + "," +
         field("errors", frames.errors) + "," + field("half_cell_ticks", static_cast<uint64_t>(frames.half_cell_ticks)) + "," +
         field("running", receiver.tapping());
}

}  // namespace twin
