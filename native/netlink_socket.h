#ifndef IPVS_NATIVE_NETLINK_SOCKET_H_
#define IPVS_NATIVE_NETLINK_SOCKET_H_

#include <cstddef>
#include <cstdint>

#include "message.h"
#include "status.h"
#include "unique_fd.h"

namespace ipvs {

// When a wait must end. The clock is first read when there is something to wait
// for: the kernel's replies are normally queued when the request has been sent.
class Deadline {
 public:
  explicit Deadline(int timeout_ms) : timeout_ms_(timeout_ms) {}

  // 0: the time is over.
  int RemainingMs();
  void Restart() { end_ms_ = 0; }

 private:
  int timeout_ms_;
  // Milliseconds of CLOCK_MONOTONIC. 0: not started.
  int64_t end_ms_ = 0;
};

// The room for one datagram of Receive(), and its result.
struct Datagram {
  uint8_t* data = nullptr;
  size_t capacity = 0;

  // 0 also for a datagram that did not come from the kernel.
  size_t size = 0;
  // It was longer than `capacity`; the rest is lost.
  bool truncated = false;

  Bytes bytes() const { return {data, size}; }
};

// A socket in the namespace of the calling thread, without any option set.
Result<UniqueFd> OpenGenericNetlink();

// Sends to the kernel and receives from it. Not for two threads at a time.
class NetlinkSocket {
 public:
  struct Options {
    // For SO_RCVBUFFORCE and SO_RCVBUF; the kernel doubles it. Only a limit of
    // the bytes that wait unread: it takes no memory by itself.
    int receive_buffer_bytes = 8 << 20;
  };

  // Most datagrams that one Receive() takes.
  static constexpr size_t kMaxDatagrams = 32;

  // Takes over a socket of OpenGenericNetlink(): binds it, asks for short and
  // for extended ACKs, sets the buffers.
  static Result<NetlinkSocket> Configure(UniqueFd fd, const Options& options);

  // Over any socket that keeps datagrams apart. For tests that play the kernel.
  static NetlinkSocket OverDatagrams(UniqueFd fd);

  // One datagram with one or more requests. The kernel runs them inside this
  // call, and may wait there for its locks or for a module to load: that time
  // has no limit that we could set.
  Status Send(Bytes bytes);

  // Waits for a datagram, then takes as many as are there and fit `datagrams`.
  // Returns how many, at least 1. ETIMEDOUT at the deadline. ENOBUFS: replies
  // were lost; what was not lost can be read by calling again.
  Result<size_t> Receive(Datagram* datagrams, size_t count, Deadline* deadline);

  // Receive() without the wait: EAGAIN if there is nothing.
  Result<size_t> ReceiveNow(Datagram* datagrams, size_t count);

  // The longest datagram that Send() takes.
  size_t max_send_bytes() const { return max_send_bytes_; }
  // The actual SO_RCVBUF: replies are lost when the sum of their true sizes (with
  // the kernel's own overhead) is above it.
  size_t receive_buffer_bytes() const { return receive_buffer_bytes_; }

 private:
  explicit NetlinkSocket(UniqueFd fd) : fd_(std::move(fd)) {}
  Status ReadBufferSizes();

  UniqueFd fd_;
  size_t max_send_bytes_ = 0;
  size_t receive_buffer_bytes_ = 0;
};

}  // namespace ipvs

#endif  // IPVS_NATIVE_NETLINK_SOCKET_H_
