#include "host.h"

#include <errno.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "unique_fd.h"

namespace ipvs {

Status LockFile(int fd) {
  int result;
  do {
    result = flock(fd, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return Failure{errno, "flock", {}};
  return {};
}

Status Notify(const std::string& socket_name, const std::string& text) {
  sockaddr_un address = {};
  // A path needs its NUL; an abstract name has none.
  if (socket_name.empty() || socket_name.size() >= sizeof(address.sun_path)) {
    return Failure{EINVAL, "sendmsg", {}};
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_name.data(), socket_name.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';

  const UniqueFd file(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!file) return Failure{errno, "socket", {}};
  iovec piece = {const_cast<char*>(text.data()), text.size()};
  msghdr message = {};
  message.msg_name = &address;
  message.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_name.size());
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  ssize_t sent;
  do {
    sent = sendmsg(file.get(), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return Failure{errno, "sendmsg", {}};
  return {};
}

}  // namespace ipvs
