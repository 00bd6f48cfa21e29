#include "usbip_server.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace twin {
namespace {

constexpr uint16_t VERSION = 0x0111;
constexpr uint16_t REQUEST_LIST = 0x8005, REPLY_LIST = 0x0005;
constexpr uint16_t REQUEST_IMPORT = 0x8003, REPLY_IMPORT = 0x0003;
constexpr uint32_t COMMAND_SUBMIT = 1, COMMAND_UNLINK = 2, RETURN_SUBMIT = 3, RETURN_UNLINK = 4;
constexpr uint32_t STATUS_OK = 0, STATUS_BUSY = 2, STATUS_NO_DEVICE = 4;
constexpr uint32_t SPEED_FULL = 2;
constexpr uint32_t BUS_NUMBER = 1, DEVICE_NUMBER = 2;
constexpr uint32_t DEVICE_ID = BUS_NUMBER << 16 | DEVICE_NUMBER;
constexpr char BUS_ID[] = "1-1";
constexpr char DEVICE_PATH[] = "/sys/devices/codecrig-twin/usb1/1-1";
constexpr size_t OPERATION_BYTES = 8, IMPORT_BYTES = 40, COMMAND_BYTES = 48;

uint32_t big32(const uint8_t* bytes) {
  return static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 | static_cast<uint32_t>(bytes[2]) << 8 |
         bytes[3];
}
uint16_t big16(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] << 8 | bytes[1]); }

// Builds a big-endian message.
struct Message {
  std::vector<uint8_t> bytes;
  Message& u8(uint8_t value) {
    bytes.push_back(value);
    return *this;
  }
  Message& u16(uint16_t value) { return u8(static_cast<uint8_t>(value >> 8)).u8(static_cast<uint8_t>(value)); }
  Message& u32(uint32_t value) { return u16(static_cast<uint16_t>(value >> 16)).u16(static_cast<uint16_t>(value)); }
  Message& text(const char* value, size_t field) {
    const size_t length = std::min(std::strlen(value), field - 1);
    bytes.insert(bytes.end(), value, value + length);
    bytes.resize(bytes.size() + field - length);
    return *this;
  }
  Message& zeros(size_t count) {
    bytes.resize(bytes.size() + count);
    return *this;
  }
  Message& add(const std::vector<uint8_t>& more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return *this;
  }
};

}  // namespace

UsbipServer::UsbipServer(UsbBus& bus, uint16_t port) : bus_(bus), listener_(port) {
  bus_.on_completion([this](const Urb& urb, int32_t status) { complete(urb, status); });
  enumerate();
}

void UsbipServer::enumerate() {
  bus_.reset();
  std::vector<uint8_t> header;
  if (!bus_.control_now({0x80, 6, 0, 1, 0, 0, 18, 0}, device_descriptor_) || device_descriptor_.size() != 18)
    throw std::runtime_error("the firmware gives no device descriptor");
  if (!bus_.control_now({0x80, 6, 0, 2, 0, 0, 9, 0}, header) || header.size() != 9)
    throw std::runtime_error("the firmware gives no configuration descriptor");
  if (!bus_.control_now({0x80, 6, 0, 2, 0, 0, header[2], header[3]}, configuration_descriptor_) ||
      configuration_descriptor_.size() != static_cast<size_t>(header[2] | header[3] << 8))
    throw std::runtime_error("the firmware's configuration descriptor is shorter than it says");
}

void UsbipServer::accept() {
  for (int peer = listener_.accept_one(); peer >= 0; peer = listener_.accept_one())
    connections_.push_back(std::make_unique<Connection>(peer));
}

void UsbipServer::garbage(Connection& connection, const char* what) {
  log_line("usbip: %s; connection closed", what);
  connection.close();
}

void UsbipServer::handle_input(Connection& connection) {
  connection.receive();
  // What came before an end of file counts only if somebody can still hear the answer.
  while (connection.open() && (&connection == client_ ? handle_command(connection) : handle_operation(connection))) {
  }
}

std::vector<uint8_t> UsbipServer::device_record() const {
  const auto& d = device_descriptor_;
  auto little16 = [&d](size_t at) { return static_cast<uint16_t>(d[at] | d[at + 1] << 8); };
  Message message;
  message.text(DEVICE_PATH, 256).text(BUS_ID, 32).u32(BUS_NUMBER).u32(DEVICE_NUMBER).u32(SPEED_FULL);
  message.u16(little16(8)).u16(little16(10)).u16(little16(12)).u8(d[4]).u8(d[5]).u8(d[6]);
  message.u8(bus_.configuration()).u8(d[17]).u8(configuration_descriptor_[4]);
  return message.bytes;
}

bool UsbipServer::handle_operation(Connection& connection) {
  if (connection.input_size() < OPERATION_BYTES) return false;
  const uint8_t* const input = connection.input();
  const uint16_t code = big16(input + 2);
  if (big16(input) != VERSION || (code != REQUEST_LIST && code != REQUEST_IMPORT)) {
    garbage(connection, "neither a list nor an import request of protocol 1.1.1");
    return false;
  }
  Message reply;
  if (code == REQUEST_LIST) {
    connection.consume(OPERATION_BYTES);
    const bool shown = plugged_ && client_ == nullptr;
    reply.u16(VERSION).u16(REPLY_LIST).u32(STATUS_OK).u32(shown ? 1 : 0);
    if (shown) {
      reply.add(device_record());
      // One record for each interface number, in its first alternate setting.
      const auto& c = configuration_descriptor_;
      for (size_t at = 0; at + 2 <= c.size() && c[at] >= 2; at += c[at])
        if (c[at + 1] == 4 && at + 9 <= c.size() && c[at + 3] == 0) reply.u8(c[at + 5]).u8(c[at + 6]).u8(c[at + 7]).u8(0);
    }
  } else {
    if (connection.input_size() < IMPORT_BYTES) return false;
    char wanted[33] = {};
    std::memcpy(wanted, input + OPERATION_BYTES, 32);
    connection.consume(IMPORT_BYTES);
    if (client_ != nullptr) {  // whoever had it may have left a moment ago
      client_->receive();
      if (!client_->open()) release();
    }
    const uint32_t status = std::strcmp(wanted, BUS_ID) != 0 || !plugged_ ? STATUS_NO_DEVICE
                            : client_ != nullptr                         ? STATUS_BUSY
                                                                         : STATUS_OK;
    reply.u16(VERSION).u16(REPLY_IMPORT).u32(status);
    if (status == STATUS_OK) {
      bus_.reset();
      client_ = &connection;
      reply.add(device_record());
    }
  }
  connection.send(reply.bytes.data(), reply.bytes.size());
  return true;
}

bool UsbipServer::handle_command(Connection& connection) {
  if (connection.input_size() < COMMAND_BYTES) return false;
  const uint8_t* const input = connection.input();
  const uint32_t command = big32(input), sequence = big32(input + 4), device = big32(input + 8);
  const uint32_t direction = big32(input + 12), endpoint = big32(input + 16);
  if (command == COMMAND_UNLINK) {
    const uint32_t victim = big32(input + 20);
    connection.consume(COMMAND_BYTES);
    const bool found = bus_.unlink(victim);
    pending_.erase(victim);
    Message reply;
    reply.u32(RETURN_UNLINK).u32(sequence).u32(0).u32(0).u32(0).u32(static_cast<uint32_t>(found ? USB_UNLINKED : USB_OK));
    reply.zeros(24);
    connection.send(reply.bytes.data(), reply.bytes.size());
    return true;
  }
  if (command != COMMAND_SUBMIT) {
    garbage(connection, "neither a submit nor an unlink command");
    return false;
  }
  Urb urb;
  urb.sequence = sequence;
  urb.flags = big32(input + 20);
  urb.length = big32(input + 24);
  const uint32_t packets = big32(input + 32);
  if (device != DEVICE_ID && device != 0) {
    garbage(connection, "command for another device");
    return false;
  }
  if (direction > 1 || endpoint > 15 || urb.length > MAX_TRANSFER_BYTES || (packets != 0 && packets != 0xFFFFFFFF)) {
    garbage(connection, "submit with a direction, endpoint, length or packet count out of range");
    return false;
  }
  const size_t payload = direction == 0 ? urb.length : 0;
  if (connection.input_size() < COMMAND_BYTES + payload) return false;
  std::memcpy(urb.setup.data(), input + 40, urb.setup.size());
  urb.endpoint = static_cast<uint8_t>(endpoint);
  urb.in = endpoint == 0 ? (urb.setup[0] & 0x80) != 0 : direction == 1;
  if (payload != 0) urb.data.assign(input + COMMAND_BYTES, input + COMMAND_BYTES + payload);
  connection.consume(COMMAND_BYTES + payload);
  if (!pending_.insert(sequence).second) {
    garbage(connection, "submit with a sequence number that is still in use");
    return false;
  }
  const uint32_t control_length = static_cast<uint32_t>(urb.setup[6] | urb.setup[7] << 8);
  if (endpoint == 0 && (urb.in ? payload != 0 : urb.length != control_length)) {
    complete(urb, USB_INVALID);
  } else {
    bus_.submit(std::move(urb));
  }
  return true;
}

void UsbipServer::complete(const Urb& urb, int32_t status) {
  ++completions_;
  pending_.erase(urb.sequence);
  if (client_ == nullptr || !client_->open()) return;
  Message reply;
  const uint32_t actual = status == USB_OK || status == USB_SHORT || status == USB_OVERFLOW ? urb.actual : 0;
  reply.u32(RETURN_SUBMIT).u32(urb.sequence).u32(0).u32(0).u32(0).u32(static_cast<uint32_t>(status)).u32(actual);
  reply.u32(0).u32(0).u32(0).zeros(8);
  if (urb.in && actual != 0) reply.add(urb.data);
  client_->send(reply.bytes.data(), reply.bytes.size());
  client_->flush();
}

void UsbipServer::flush() {
  for (auto& connection : connections_) connection->flush();
}

void UsbipServer::release() {
  client_ = nullptr;
  pending_.clear();
  bus_.reset();
}

void UsbipServer::drop_closed() {
  if (client_ != nullptr && !client_->open()) release();
  connections_.erase(std::remove_if(connections_.begin(), connections_.end(), [](const auto& one) { return !one->open(); }),
                     connections_.end());
}

void UsbipServer::unplug() {
  if (!plugged_) return;
  plugged_ = false;
  bus_.complete_all(USB_GONE);
  if (client_ != nullptr) {
    client_->flush();
    client_->close();
    drop_closed();
  }
  bus_.suspend();
}

void UsbipServer::plug() {
  if (plugged_) return;
  plugged_ = true;
  enumerate();
}

}  // namespace twin
