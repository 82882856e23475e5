#ifndef IPVS_NATIVE_NETNS_H_
#define IPVS_NATIVE_NETNS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "status.h"
#include "unique_fd.h"

namespace ipvs {

// A generic netlink socket, and the network namespace that it is in.
struct SocketInNamespace {
  UniqueFd socket;
  UniqueFd netns;
};

// Opens one in the network namespace at `path`. A socket stays where it was
// created, so only creating it needs setns(2), which moves the calling thread.
// That runs on a new thread which then ends: a libuv pool thread that could not
// move back would do later fs and dns work in the wrong namespace. Needs
// CAP_SYS_ADMIN. Result has the errno of open, setns or socket.
Result<SocketInNamespace> OpenInNamespace(const std::string& path);

// The same in a new network namespace, with `lo` up: with no route at all the
// kernel takes no address for unicast. The namespace ends with both files.
Result<SocketInNamespace> OpenInScratchNamespace();

// The content of a file as it is for a thread in the network namespace `netns`,
// or in that of the calling thread where there is none. EFBIG above `max_bytes`.
// A path below /proc/net shows the namespace of the process's main thread even
// then; /proc/thread-self/net shows the thread's own.
Result<std::vector<uint8_t>> ReadFile(const std::string& path, const UniqueFd& netns,
                                      size_t max_bytes);

// The contents of several files, in order: the namespace is entered once for all.
std::vector<Result<std::vector<uint8_t>>> ReadFiles(const std::vector<std::string>& paths,
                                                    const UniqueFd& netns, size_t max_bytes);

// Writes `content` to a file that exists, in one write(2): what a sysctl takes.
Status WriteFile(const std::string& path, const UniqueFd& netns, const std::string& content);

}  // namespace ipvs

#endif  // IPVS_NATIVE_NETNS_H_
