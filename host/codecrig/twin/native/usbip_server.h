// USB/IP, protocol version 1.1.1: lists and exports the one device on the bus. Everything that arrives is checked against its
// bounds; a peer that sends something else is dropped with a line in the log, and the others do not notice.
#ifndef CODECRIG_TWIN_USBIP_SERVER_H
#define CODECRIG_TWIN_USBIP_SERVER_H

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "net.h"
#include "usb_bus.h"

namespace twin {

class UsbipServer {
 public:
  // Reads the device's descriptors; throws std::runtime_error if the device does not enumerate.
  UsbipServer(UsbBus& bus, uint16_t port);

  Listener& listener() { return listener_; }
  const std::vector<std::unique_ptr<Connection>>& connections() const { return connections_; }
  void accept();
  void handle_input(Connection& connection);
  void flush();
  void drop_closed();

  void unplug();
  void plug();
  bool plugged() const { return plugged_; }
  bool imported() const { return client_ != nullptr; }
  uint64_t completions() const { return completions_; }

 private:
  static constexpr uint32_t MAX_TRANSFER_BYTES = 1u << 20;

  void enumerate();
  void release();  // the device from its client
  std::vector<uint8_t> device_record() const;
  void garbage(Connection& connection, const char* what);
  bool handle_operation(Connection& connection);  // false: needs more input, or connection closed
  bool handle_command(Connection& connection);
  void complete(const Urb& urb, int32_t status);

  UsbBus& bus_;
  Listener listener_;
  std::vector<std::unique_ptr<Connection>> connections_;
  Connection* client_ = nullptr;  // who imported the device
  std::unordered_set<uint32_t> pending_;
  std::vector<uint8_t> device_descriptor_;
  std::vector<uint8_t> configuration_descriptor_;
  bool plugged_ = true;
  uint64_t completions_ = 0;
};

}  // namespace twin
#endif
