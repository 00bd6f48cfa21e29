// The control channel: one JSON object a line, one reply line each. It reads and changes what surrounds the board; it never
// moves time.
#ifndef CODECRIG_TWIN_CONTROL_H
#define CODECRIG_TWIN_CONTROL_H

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "board.h"
#include "json.h"
#include "net.h"
#include "usbip_server.h"

namespace twin {

class ControlServer {
 public:
  ControlServer(Board& board, UsbipServer& usbip, uint16_t port) : board_(board), usbip_(usbip), listener_(port) {}

  Listener& listener() { return listener_; }
  const std::vector<std::unique_ptr<Connection>>& connections() const { return connections_; }
  void accept();
  void handle_input(Connection& connection);
  void drop_closed();
  bool quit() const { return quit_; }

  // Wall-clock time spent letting board time flow, for `status`.
  uint64_t running_ns = 0;

 private:
  static constexpr size_t MAX_LINE_BYTES = 48u << 20;

  std::string reply_to(std::string_view line);
  std::string perform(const std::string& operation, const Json& request);
  std::string codec(const Json& request);
  std::string tap(const Json& request);
  std::string inject(const Json& request);
  std::string trigger(const Json& request);
  std::string cable(const Json& request);
  std::string fault(const Json& request);
  std::string midi(const Json& request);
  std::string spdif(const Json& request);
  std::string status() const;

  Board& board_;
  UsbipServer& usbip_;
  Listener listener_;
  std::vector<std::unique_ptr<Connection>> connections_;
  CodecFaults codec_faults_;
  bool quit_ = false;
};

}  // namespace twin
#endif
