#include "netlink_socket.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>

// Linux 4.12; Node needs 4.18.
#ifndef NETLINK_EXT_ACK
#define NETLINK_EXT_ACK 11
#endif

namespace ipvs {
namespace {

// netlink_sendmsg() refuses a datagram longer than sk_sndbuf - 32 with EMSGSIZE.
constexpr size_t kSendBufferOverhead = 32;

int64_t NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

Status SetOption(int fd, int level, int option, int value) {
  if (setsockopt(fd, level, option, &value, sizeof(value)) != 0) {
    return Failure{errno, "setsockopt", {}};
  }
  return {};
}

Result<size_t> GetSizeOption(int fd, int option) {
  int value = 0;
  socklen_t size = sizeof(value);
  if (getsockopt(fd, SOL_SOCKET, option, &value, &size) != 0) {
    return Failure{errno, "getsockopt", {}};
  }
  return static_cast<size_t>(std::max(value, 0));
}

// SO_RCVBUFFORCE may exceed the system's limit and needs CAP_NET_ADMIN. Without it
// the buffer is as large as net.core.rmem_max allows.
Status SetReceiveBuffer(int fd, int bytes) {
  if (SetOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes).ok()) return {};
  return SetOption(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

}  // namespace

int Deadline::RemainingMs() {
  const int64_t now = NowMs();
  if (end_ms_ == 0) end_ms_ = now + timeout_ms_;
  return static_cast<int>(std::clamp<int64_t>(end_ms_ - now, 0, INT_MAX));
}

Result<UniqueFd> OpenGenericNetlink() {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC));
  if (!fd) return Failure{errno, "socket", {}};
  return fd;
}

Result<NetlinkSocket> NetlinkSocket::Configure(UniqueFd fd, const Options& options) {
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return Failure{errno, "bind", {}};
  }
  Status status = SetOption(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, 1);
  if (status.ok()) status = SetOption(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, 1);
  if (status.ok()) {
    status = SetReceiveBuffer(fd.get(), options.receive_buffer_bytes);
  }
  if (!status.ok()) return status.TakeFailure();

  NetlinkSocket socket(std::move(fd));
  status = socket.ReadBufferSizes();
  if (!status.ok()) return status.TakeFailure();
  return socket;
}

NetlinkSocket NetlinkSocket::OverDatagrams(UniqueFd fd) {
  NetlinkSocket socket(std::move(fd));
  socket.max_send_bytes_ = 65536;
  socket.receive_buffer_bytes_ = 8 << 20;
  return socket;
}

Status NetlinkSocket::ReadBufferSizes() {
  Result<size_t> sent = GetSizeOption(fd_.get(), SO_SNDBUF);
  if (!sent.ok()) return sent.TakeFailure();
  Result<size_t> received = GetSizeOption(fd_.get(), SO_RCVBUF);
  if (!received.ok()) return received.TakeFailure();
  max_send_bytes_ = sent.value() - std::min(sent.value(), kSendBufferOverhead);
  receive_buffer_bytes_ = received.value();
  return {};
}

Status NetlinkSocket::Send(Bytes bytes) {
  iovec part = {const_cast<uint8_t*>(bytes.data), bytes.size};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  for (;;) {
    if (sendmsg(fd_.get(), &message, MSG_NOSIGNAL) >= 0) return {};
    // Interrupted before the kernel took the datagram, which it takes whole or not.
    if (errno != EINTR) return Failure{errno, "sendmsg", {}};
  }
}

Result<size_t> NetlinkSocket::ReceiveNow(Datagram* datagrams, size_t count) {
  count = std::min(count, kMaxDatagrams);
  mmsghdr messages[kMaxDatagrams];
  iovec parts[kMaxDatagrams];
  sockaddr_nl senders[kMaxDatagrams];
  for (size_t i = 0; i < count; ++i) {
    parts[i] = {datagrams[i].data, datagrams[i].capacity};
    senders[i] = {};
    messages[i] = {};
    messages[i].msg_hdr.msg_name = &senders[i];
    messages[i].msg_hdr.msg_namelen = sizeof(senders[i]);
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  int received;
  do {
    received = recvmmsg(fd_.get(), messages, static_cast<unsigned>(count), MSG_DONTWAIT, nullptr);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return Failure{errno, "recvmmsg", {}};
  for (int i = 0; i < received; ++i) {
    // A process with CAP_NET_ADMIN can send to our port id. The kernel's is 0.
    const bool from_kernel = senders[i].nl_family != AF_NETLINK || senders[i].nl_pid == 0;
    datagrams[i].size = from_kernel ? messages[i].msg_len : 0;
    datagrams[i].truncated = from_kernel && (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
  }
  return static_cast<size_t>(received);
}

Result<size_t> NetlinkSocket::Receive(Datagram* datagrams, size_t count, Deadline* deadline) {
  for (;;) {
    Result<size_t> received = ReceiveNow(datagrams, count);
    if (received.ok() || received.failure().error != EAGAIN) return received;
    const int remaining_ms = deadline->RemainingMs();
    if (remaining_ms == 0) return Failure{ETIMEDOUT, "poll", {}};
    pollfd waiting = {fd_.get(), POLLIN, 0};
    if (poll(&waiting, 1, remaining_ms) < 0 && errno != EINTR) {
      return Failure{errno, "poll", {}};
    }
  }
}

}  // namespace ipvs
