#include "net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace twin {

Listener::Listener(uint16_t port) : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  if (descriptor_ < 0) throw std::runtime_error(std::string("no socket: ") + std::strerror(errno));
  const int one = 1;
  ::setsockopt(descriptor_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(descriptor_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(descriptor_, 16) != 0 ||
      ::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    const std::string reason = std::strerror(errno);
    ::close(descriptor_);
    throw std::runtime_error("cannot listen on 127.0.0.1:" + std::to_string(port) + ": " + reason);
  }
  port_ = ntohs(address.sin_port);
}

Listener::~Listener() { ::close(descriptor_); }

int Listener::accept_one() {
  const int peer = ::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (peer < 0) return -1;
  const int one = 1;
  ::setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return peer;
}

Connection::~Connection() { ::close(descriptor_); }

void Connection::receive() {
  uint8_t chunk[65536];
  while (open_ && input_size() < MAX_INPUT_BYTES) {
    const ssize_t got = ::recv(descriptor_, chunk, sizeof chunk, 0);
    if (got > 0) {
      input_.insert(input_.end(), chunk, chunk + got);
    } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return;
    } else if (got == 0 || errno != EINTR) {
      open_ = false;
    }
  }
}

void Connection::consume(size_t length) {
  consumed_ += length;
  if (consumed_ == input_.size()) {
    input_.clear();
    consumed_ = 0;
  } else if (consumed_ > (1u << 20)) {
    input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(consumed_));
    consumed_ = 0;
  }
}

void Connection::send(const void* data, size_t length) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  if (output_.size() - sent_ + length > MAX_OUTPUT_BYTES) {
    log_line("a peer does not read its replies; dropped");
    open_ = false;
    return;
  }
  output_.insert(output_.end(), bytes, bytes + length);
}

void Connection::flush() {
  while (wants_write()) {
    const ssize_t sent = ::send(descriptor_, output_.data() + sent_, output_.size() - sent_, MSG_NOSIGNAL);
    if (sent > 0) {
      sent_ += static_cast<size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno != EINTR) {
      open_ = false;
    }
  }
  output_.clear();
  sent_ = 0;
}

uint64_t process_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000000000u + static_cast<uint64_t>(time.tv_nsec);
}

void log_line(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fputc('\n', stderr);
  std::fflush(stderr);
}

}  // namespace twin
