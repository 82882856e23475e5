#ifndef IPVS_NATIVE_HOST_H_
#define IPVS_NATIVE_HOST_H_

#include <string>

#include "status.h"

namespace ipvs {

// What Node has no call for, and a program on a director needs. Neither blocks.

// Takes the exclusive flock(2) of an open file. EWOULDBLOCK: another open file has
// it. It ends when the file is closed, with the process at the latest.
Status LockFile(int fd);

// Sends one datagram to the service manager, as sd_notify(3) does. `socket` is the
// value of $NOTIFY_SOCKET: a path, or '@' and an abstract name.
Status Notify(const std::string& socket, const std::string& text);

}  // namespace ipvs

#endif  // IPVS_NATIVE_HOST_H_
