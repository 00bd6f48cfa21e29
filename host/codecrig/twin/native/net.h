// Listening sockets on the loopback interface and connections that never block.
#ifndef CODECRIG_TWIN_NET_H
#define CODECRIG_TWIN_NET_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace twin {

class Listener {
 public:
  explicit Listener(uint16_t port);  // 127.0.0.1; 0 = any free port; throws std::runtime_error
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  int descriptor() const { return descriptor_; }
  uint16_t port() const { return port_; }
  int accept_one();  // -1: nobody there

 private:
  int descriptor_;
  uint16_t port_;
};

// One peer. `input` is what arrived and was not consumed yet.
class Connection {
 public:
  explicit Connection(int descriptor) : descriptor_(descriptor) {}
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int descriptor() const { return descriptor_; }
  bool open() const { return open_; }
  void close() { open_ = false; }
  void receive();  // reads what is there, up to MAX_INPUT_BYTES; end of file or an error closes
  void send(const void* data, size_t length);
  void flush();
  bool wants_write() const { return open_ && sent_ < output_.size(); }

  const uint8_t* input() const { return input_.data() + consumed_; }
  size_t input_size() const { return input_.size() - consumed_; }
  void consume(size_t length);

  static constexpr size_t MAX_INPUT_BYTES = 64u << 20;
  static constexpr size_t MAX_OUTPUT_BYTES = 128u << 20;  // a peer that never reads is dropped

 private:
  int descriptor_;
  bool open_ = true;
  std::vector<uint8_t> input_;
  size_t consumed_ = 0;
  std::vector<uint8_t> output_;
  size_t sent_ = 0;
};

// Processor time this process has used, in ns.
uint64_t process_ns();

void log_line(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace twin
#endif
