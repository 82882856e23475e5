#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "netlink_socket.h"

namespace ipvs {
namespace {

constexpr size_t kFirstReadBytes = 64 * 1024;

extern "C" void* RunWork(void* work) {
  (*static_cast<std::function<void()>*>(work))();
  return nullptr;
}

// Runs `work` on a new thread and waits for its end. Not std::thread, which has
// only an exception to say that the process may start no more threads.
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

// Moves the calling thread. O_NONBLOCK: the path may be that of a FIFO, and
// opening one waits for its other end.
Status EnterNamespace(const std::string& path) {
  UniqueFd netns(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!netns) return Failure{errno, "open", {}};
  if (setns(netns.get(), CLONE_NEWNET) != 0) return Failure{errno, "setns", {}};
  return {};
}

// Any socket will do for this ioctl; it concerns the socket's namespace.
Status BringLoopbackUp(int socket) {
  ifreq request = {};
  std::strncpy(request.ifr_name, "lo", sizeof(request.ifr_name) - 1);
  request.ifr_flags = IFF_UP;
  if (ioctl(socket, SIOCSIFFLAGS, &request) != 0) return Failure{errno, "ioctl", {}};
  return {};
}

Result<UniqueFd> OpenAfter(const std::function<Status()>& enter,
                           const std::function<Status(int)>& prepare) {
  Result<UniqueFd> result = UniqueFd();
  Status status = RunOnNewThread([&] {
    Status entered = enter();
    if (!entered.ok()) {
      result = entered.TakeFailure();
      return;
    }
    result = OpenGenericNetlink();
    if (!result.ok()) return;
    Status prepared = prepare(result.value().get());
    if (!prepared.ok()) result = prepared.TakeFailure();
  });
  if (!status.ok()) return status.TakeFailure();
  return result;
}

Result<std::vector<uint8_t>> ReadHere(const std::string& path, size_t max_bytes) {
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return Failure{errno, "open", {}};
  // In one read where the file gives all at once: many files of /proc change
  // from read to read.
  std::vector<uint8_t> bytes(std::min(max_bytes + 1, kFirstReadBytes));
  size_t size = 0;
  for (;;) {
    if (size == bytes.size()) {
      // One byte more than is allowed, to see that there is more.
      if (size > max_bytes) return Failure{EFBIG, "read", {}};
      bytes.resize(std::min(max_bytes + 1, 2 * size));
    }
    const ssize_t got = read(file.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0) {
      if (errno == EINTR) continue;
      return Failure{errno, "read", {}};
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > max_bytes) return Failure{EFBIG, "read", {}};
  bytes.resize(size);
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

Result<UniqueFd> OpenInNamespace(const std::string& path) {
  return OpenAfter([&] { return EnterNamespace(path); }, [](int) { return Status(); });
}

Result<UniqueFd> OpenInScratchNamespace() {
  return OpenAfter(
      [] {
        if (unshare(CLONE_NEWNET) != 0) return Status(Failure{errno, "unshare", {}});
        return Status();
      },
      BringLoopbackUp);
}

Result<std::vector<uint8_t>> ReadFile(const std::string& path, const std::string& netns,
                                      size_t max_bytes) {
  if (netns.empty()) return ReadHere(path, max_bytes);
  Result<std::vector<uint8_t>> result = std::vector<uint8_t>();
  Status status = RunOnNewThread([&] {
    Status entered = EnterNamespace(netns);
    if (!entered.ok()) {
      result = entered.TakeFailure();
    } else {
      result = ReadHere(path, max_bytes);
    }
  });
  if (!status.ok()) return status.TakeFailure();
  return result;
}

Status WriteFile(const std::string& path, const std::string& netns, const std::string& content) {
  if (netns.empty()) return WriteHere(path, content);
  Status result;
  Status status = RunOnNewThread([&] {
    result = EnterNamespace(netns);
    if (result.ok()) result = WriteHere(path, content);
  });
  if (!status.ok()) return status;
  return result;
}

}  // namespace ipvs
