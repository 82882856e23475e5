#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "netlink_socket.h"

namespace ipvs {
namespace {

extern "C" void* RunWork(void* work) {
  (*static_cast<std::function<void()>*>(work))();
  return nullptr;
}

// Runs `work` on a new thread and waits for its end. Not std::thread, which throws
// an exception if the process may not start more threads.
Status RunOnNewThread(std::function<void()> work) {
  // The new thread inherits the mask: no signal handler runs while it is in
  // another namespace.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, RunWork, &work);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return Failure{error, "pthread_create", {}};
  pthread_join(thread, nullptr);
  return {};
}

// Moves the calling thread.
Status EnterNamespace(const UniqueFd& netns) {
  if (setns(netns.get(), CLONE_NEWNET) != 0) return Failure{errno, "setns", {}};
  return {};
}

// Does `work` on a thread in the network namespace, or on this thread without one.
Status RunInNamespace(const UniqueFd& netns, const std::function<void()>& work) {
  if (!netns) {
    work();
    return {};
  }
  Status entered;
  Status status = RunOnNewThread([&] {
    entered = EnterNamespace(netns);
    if (entered.ok()) work();
  });
  return status.ok() ? std::move(entered) : std::move(status);
}

// Any socket will do for this ioctl; it concerns the socket's namespace.
Status BringLoopbackUp(int socket) {
  ifreq request = {};
  std::strncpy(request.ifr_name, "lo", sizeof(request.ifr_name) - 1);
  request.ifr_flags = IFF_UP;
  if (ioctl(socket, SIOCSIFFLAGS, &request) != 0) return Failure{errno, "ioctl", {}};
  return {};
}

// Moves the calling thread.
Result<SocketInNamespace> OpenInNewNamespace() {
  if (unshare(CLONE_NEWNET) != 0) return Failure{errno, "unshare", {}};
  Result<UniqueFd> socket = OpenGenericNetlink();
  if (!socket.ok()) return socket.TakeFailure();
  Status status = BringLoopbackUp(socket.value().get());
  if (!status.ok()) return status.TakeFailure();
  UniqueFd netns(ioctl(socket.value().get(), SIOCGSKNS));
  if (!netns) return Failure{errno, "ioctl", {}};
  return SocketInNamespace{std::move(socket.value()), std::move(netns)};
}

// O_NONBLOCK: the path may be that of a FIFO, and opening that waits for its other
// end.
Result<UniqueFd> OpenHere(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return Failure{errno, "open", {}};
  return file;
}

Result<std::vector<uint8_t>> ReadHere(const std::string& path, size_t max_bytes) {
  const Result<UniqueFd> file = OpenHere(path);
  if (!file.ok()) return file.failure();
  // One byte more than is allowed, to see that there is more.
  Result<std::vector<uint8_t>> bytes = ReadPiece(file.value(), max_bytes + 1);
  if (bytes.ok() && bytes.value().size() > max_bytes) return Failure{EFBIG, "read", {}};
  return bytes;
}

Status WriteHere(const std::string& path, const std::string& content) {
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return Failure{errno, "open", {}};
  ssize_t done;
  do {
    done = write(file.get(), content.data(), content.size());
  } while (done < 0 && errno == EINTR);
  if (done < 0) return Failure{errno, "write", {}};
  if (static_cast<size_t>(done) != content.size()) return Failure{EIO, "write", {}};
  return {};
}

}  // namespace

Result<SocketInNamespace> OpenInNamespace(const std::string& path) {
  Result<UniqueFd> file = OpenHere(path);
  if (!file.ok()) return Failure{file.failure().error, kNetnsOperation, {}};
  UniqueFd netns = std::move(file.value());
  Result<UniqueFd> socket = UniqueFd();
  Status status = RunInNamespace(netns, [&] { socket = OpenGenericNetlink(); });
  if (!status.ok()) return status.TakeFailure();
  if (!socket.ok()) return socket.TakeFailure();
  return SocketInNamespace{std::move(socket.value()), std::move(netns)};
}

Result<SocketInNamespace> OpenInScratchNamespace() {
  Result<SocketInNamespace> result = SocketInNamespace();
  Status status = RunOnNewThread([&] { result = OpenInNewNamespace(); });
  if (!status.ok()) return status.TakeFailure();
  return result;
}

Result<UniqueFd> OpenFile(const std::string& path, const UniqueFd& netns) {
  Result<UniqueFd> file = UniqueFd();
  Status status = RunInNamespace(netns, [&] { file = OpenHere(path); });
  if (!status.ok()) return status.TakeFailure();
  return file;
}

Result<std::vector<uint8_t>> ReadPiece(const UniqueFd& file, size_t max_bytes) {
  std::vector<uint8_t> bytes(max_bytes);
  size_t size = 0;
  while (size < max_bytes) {
    const ssize_t got = read(file.get(), bytes.data() + size, max_bytes - size);
    if (got < 0) {
      if (errno == EINTR) continue;
      return Failure{errno, "read", {}};
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  bytes.resize(size);
  return bytes;
}

std::vector<Result<std::vector<uint8_t>>> ReadFiles(const std::vector<std::string>& paths,
                                                    const UniqueFd& netns, size_t max_bytes) {
  std::vector<Result<std::vector<uint8_t>>> results;
  results.reserve(paths.size());
  Status status = RunInNamespace(netns, [&] {
    for (const std::string& path : paths) results.push_back(ReadHere(path, max_bytes));
  });
  if (status.ok()) return results;
  const Failure failure = status.TakeFailure();
  results.clear();
  for (size_t i = 0; i < paths.size(); ++i) results.push_back(Failure(failure));
  return results;
}

Status WriteFile(const std::string& path, const UniqueFd& netns, const std::string& content) {
  Status result;
  Status status = RunInNamespace(netns, [&] { result = WriteHere(path, content); });
  return status.ok() ? std::move(result) : std::move(status);
}

}  // namespace ipvs
