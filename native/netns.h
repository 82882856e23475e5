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

// The same in a new network namespace, with `lo` up: without any route the kernel
// accepts no address as unicast. The namespace ends when both files are closed.
Result<SocketInNamespace> OpenInScratchNamespace();

// Opens a file for reading, as a thread in the network namespace `netns` sees it, or
// the calling thread if that is empty. The file stays that of the namespace. A path
// under /proc/net always shows the namespace of the process's main thread;
// /proc/thread-self/net shows the thread's own.
Result<UniqueFd> OpenFile(const std::string& path, const UniqueFd& netns);

// The next `max_bytes` of an open file. Fewer: it ends there.
Result<std::vector<uint8_t>> ReadPiece(const UniqueFd& file, size_t max_bytes);

// The contents of several files, in order: the namespace is entered once for all.
// EFBIG for one of more than `max_bytes`.
std::vector<Result<std::vector<uint8_t>>> ReadFiles(const std::vector<std::string>& paths,
                                                    const UniqueFd& netns, size_t max_bytes);

// Writes `content` to an existing file in one write(2), as a sysctl needs it.
Status WriteFile(const std::string& path, const UniqueFd& netns, const std::string& content);

}  // namespace ipvs

#endif  // IPVS_NATIVE_NETNS_H_
