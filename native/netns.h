#ifndef IPVS_NATIVE_NETNS_H_
#define IPVS_NATIVE_NETNS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "status.h"
#include "unique_fd.h"

namespace ipvs {

// Opens a generic netlink socket in the network namespace at `path`. A socket
// stays where it was created, so only creating it needs setns(2), which moves
// the calling thread. That runs on a new thread which then ends: a libuv pool
// thread that could not move back would do later fs and dns work in the wrong
// namespace. Needs CAP_SYS_ADMIN. Result has the errno of open, setns or socket.
Result<UniqueFd> OpenInNamespace(const std::string& path);

// The same in a new network namespace, with `lo` up: with no route at all the
// kernel takes no address for unicast. The namespace ends with the socket.
Result<UniqueFd> OpenInScratchNamespace();

// The content of a file as it is for a thread in the network namespace at
// `netns`, or of this one where that is empty. EFBIG above `max_bytes`. A path
// below /proc/net shows the namespace of the process's main thread even then;
// /proc/thread-self/net shows the thread's own.
Result<std::vector<uint8_t>> ReadFile(const std::string& path, const std::string& netns,
                                      size_t max_bytes);

// Writes `content` to a file that exists, in one write(2): what a sysctl takes.
Status WriteFile(const std::string& path, const std::string& netns, const std::string& content);

}  // namespace ipvs

#endif  // IPVS_NATIVE_NETNS_H_
