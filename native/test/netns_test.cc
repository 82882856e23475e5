#include "netns.h"

#include <errno.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "check.h"
#include "netlink_socket.h"

namespace ipvs::test {
namespace {

std::string OwnNamespace() {
  char link[64] = {};
  return readlink("/proc/thread-self/ns/net", link, sizeof(link) - 1) > 0 ? link : "";
}

// A directory that ends with the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    if (mkdtemp(path_) == nullptr) std::abort();
  }
  ~TemporaryDirectory() {
    for (const std::string& file : files_) unlink(file.c_str());
    rmdir(path_);
  }
  std::string File(const char* name) {
    files_.push_back(std::string(path_) + "/" + name);
    return files_.back();
  }

 private:
  char path_[32] = "/tmp/ipvs-native-XXXXXX";
  std::vector<std::string> files_;
};

// The whole of one file, of at most so many bytes.
Result<std::vector<uint8_t>> ReadFile(const std::string& path, const UniqueFd& netns,
                                      size_t max_bytes) {
  return std::move(ReadFiles({path}, netns, max_bytes)[0]);
}

TEST("a network namespace that is none is an error of open or setns") {
  Result<SocketInNamespace> missing = OpenInNamespace("/run/netns/no such namespace");
  REQUIRE(!missing.ok());
  CHECK_EQ(missing.failure().error, ENOENT);
  CHECK_EQ(std::string(missing.failure().operation), kNetnsOperation);
  Result<SocketInNamespace> file = OpenInNamespace("/etc/passwd");
  REQUIRE(!file.ok());
  CHECK_EQ(file.failure().error, EINVAL);
  CHECK_EQ(std::string(file.failure().operation), "setns");
}

TEST("a FIFO for a network namespace does not hang") {
  TemporaryDirectory directory;
  const std::string fifo = directory.File("fifo");
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(!OpenInNamespace(fifo).ok());
  // Nor one for a file.
  const Result<std::vector<uint8_t>> read = ReadFile(fifo, {}, 1);
  CHECK(!read.ok() || read.value().empty());
  CHECK(OpenFile(fifo, {}).ok());
}

TEST("a scratch namespace is new, has lo up, and leaves the caller where it was") {
  if (geteuid() != 0) SKIP("root");
  const std::string before = OwnNamespace();
  Result<SocketInNamespace> fd = OpenInScratchNamespace();
  if (!fd.ok() && fd.failure().error == EPERM) SKIP("CAP_SYS_ADMIN");
  REQUIRE(fd.ok());
  CHECK_EQ(OwnNamespace(), before);
  ifreq request = {};
  std::strcpy(request.ifr_name, "lo");
  REQUIRE(ioctl(fd.value().socket.get(), SIOCGIFFLAGS, &request) == 0);
  CHECK((request.ifr_flags & IFF_UP) != 0);
  // Nothing but lo: index 1 is its, and there is no other.
  request = {};
  request.ifr_ifindex = 2;
  if (ioctl(fd.value().socket.get(), SIOCGIFNAME, &request) == 0) {
    // Fallback tunnel devices, which some kernels give to each namespace.
    CHECK(std::strcmp(request.ifr_name, "eth0") != 0);
  }
}

TEST("a file is that of the namespace which the socket is in, the new one too") {
  if (geteuid() != 0) SKIP("root");
  Result<SocketInNamespace> fd = OpenInScratchNamespace();
  if (!fd.ok() && fd.failure().error == EPERM) SKIP("CAP_SYS_ADMIN");
  REQUIRE(fd.ok());
  const std::string path = "/proc/sys/net/ipv4/ip_default_ttl";
  const std::vector<uint8_t> before = ReadFile(path, {}, 100).value();
  const Status written = WriteFile(path, fd.value().netns, "77");
  if (!written.ok() && written.failure().error == EROFS) SKIP("a /proc/sys that can be written");
  REQUIRE(written.ok());
  CHECK(ReadFile(path, fd.value().netns, 100).value() == (std::vector<uint8_t>{'7', '7', '\n'}));
  CHECK(ReadFile(path, {}, 100).value() == before);
}

TEST("a socket or a file can be opened in the own namespace by path") {
  if (geteuid() != 0) SKIP("root");
  Result<SocketInNamespace> fd = OpenInNamespace("/proc/self/ns/net");
  if (!fd.ok() && fd.failure().error == EPERM) SKIP("CAP_SYS_ADMIN");
  REQUIRE(fd.ok());
  const UniqueFd& netns = fd.value().netns;
  const Result<std::vector<uint8_t>> file =
      ReadFile("/proc/sys/net/ipv4/ip_forward", netns, 100);
  REQUIRE(file.ok());
  CHECK_EQ(file.value().size(), 2u);
  Result<std::vector<uint8_t>> missing =
      ReadFile("/proc/sys/net/ipv4/no such thing", netns, 100);
  REQUIRE(!missing.ok());
  CHECK_EQ(missing.failure().error, ENOENT);
}

TEST("a file as long as is allowed is read whole, one byte more is EFBIG") {
  TemporaryDirectory directory;
  const std::string path = directory.File("file");
  constexpr size_t kMost = 300'000;  // more than one read
  for (const size_t size : {size_t{0}, size_t{1}, size_t{65'536}, size_t{65'537}, kMost, kMost + 1}) {
    std::ofstream(path, std::ios::trunc) << std::string(size, 'x');
    const Result<std::vector<uint8_t>> read = ReadFile(path, {}, kMost);
    if (size > kMost) {
      REQUIRE(!read.ok());
      CHECK_EQ(read.failure().error, EFBIG);
    } else {
      REQUIRE(read.ok());
      CHECK_EQ(read.value().size(), size);
      CHECK(size == 0 || read.value().back() == 'x');
    }
  }
}

TEST("a file is read in pieces, which are whole but for the last") {
  TemporaryDirectory directory;
  const std::string path = directory.File("file");
  std::ofstream(path) << "0123456789";
  const Result<UniqueFd> file = OpenFile(path, {});
  REQUIRE(file.ok());
  for (const char* piece : {"0123", "4567", "89", "", ""}) {
    const Result<std::vector<uint8_t>> read = ReadPiece(file.value(), 4);
    REQUIRE(read.ok());
    CHECK_EQ(std::string(read.value().begin(), read.value().end()), std::string(piece));
  }
  const Result<UniqueFd> missing = OpenFile(directory.File("missing"), {});
  REQUIRE(!missing.ok());
  CHECK_EQ(missing.failure().error, ENOENT);
}

TEST("a file that is open stays that of its namespace") {
  if (geteuid() != 0) SKIP("root");
  Result<SocketInNamespace> fd = OpenInScratchNamespace();
  if (!fd.ok() && fd.failure().error == EPERM) SKIP("CAP_SYS_ADMIN");
  REQUIRE(fd.ok());
  const char* const path = "/proc/thread-self/net/netlink";
  const Result<UniqueFd> file = OpenFile(path, fd.value().netns);
  REQUIRE(file.ok());
  const std::vector<uint8_t> inside = ReadFile(path, fd.value().netns, 65'536).value();
  CHECK(ReadPiece(file.value(), 65'536).value() == inside);
  CHECK(ReadFile(path, {}, 1 << 20).value() != inside);
}

TEST("a file that cannot be read has the errno of open or read") {
  Result<std::vector<uint8_t>> missing = ReadFile("/no such file", {}, 1);
  REQUIRE(!missing.ok());
  CHECK_EQ(missing.failure().error, ENOENT);
  CHECK_EQ(std::string(missing.failure().operation), "open");
  Result<std::vector<uint8_t>> directory = ReadFile("/proc", {}, 1);
  REQUIRE(!directory.ok());
  CHECK_EQ(directory.failure().error, EISDIR);
  CHECK_EQ(std::string(directory.failure().operation), "read");
}

TEST("a file is written, and one that cannot be has the errno of open or write") {
  TemporaryDirectory directory;
  const std::string path = directory.File("file");
  std::ofstream(path) << "0";
  CHECK(WriteFile(path, {}, "1").ok());
  CHECK_EQ(ReadFile(path, {}, 10).value().size(), 1u);
  const Status missing = WriteFile(directory.File("missing"), {}, "1");
  REQUIRE(!missing.ok());
  CHECK_EQ(missing.failure().error, ENOENT);
  CHECK_EQ(std::string(missing.failure().operation), "open");
  const Status full = WriteFile("/dev/full", {}, "1");
  REQUIRE(!full.ok());
  CHECK_EQ(full.failure().error, ENOSPC);
  CHECK_EQ(std::string(full.failure().operation), "write");
}

}  // namespace
}  // namespace ipvs::test
