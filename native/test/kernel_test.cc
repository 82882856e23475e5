// GenlSocket against the kernel's own family `nlctrl`, which every kernel has.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "check.h"
#include "fake_kernel.h"
#include "genl_socket.h"

namespace ipvs::test {
namespace {

constexpr uint8_t kGetFamily = 3;
constexpr int kTimeoutMs = 5000;

ByteVector GetFamily(const std::string& name) {
  return Genl(kGetFamily, Attribute(2, Text(name)));
}

GenlSocket::Options ControlFamily() {
  GenlSocket::Options options;
  options.family = "nlctrl";
  options.timeout_ms = kTimeoutMs;
  return options;
}

struct Opened {
  std::unique_ptr<GenlSocket> genl;
  // The same socket, to do on it what GenlSocket does not.
  UniqueFd fd;
};

Opened OpenWithFd(const NetlinkSocket::Options& options) {
  Result<UniqueFd> fd = OpenGenericNetlink();
  UniqueFd second(dup(fd.value().get()));
  Result<NetlinkSocket> socket = NetlinkSocket::Configure(std::move(fd.value()), options);
  auto genl = std::make_unique<GenlSocket>(std::move(socket.value()), "nlctrl", kTimeoutMs);
  if (!genl->ResolveFamily().ok()) return {};
  return {std::move(genl), std::move(second)};
}

TEST("the family nlctrl has the id 16, and a family that does not exist is ENOENT") {
  Result<std::unique_ptr<GenlSocket>> genl = GenlSocket::Open(ControlFamily());
  REQUIRE(genl.ok());
  CHECK_EQ(genl.value()->family_id(), 16);
  GenlSocket::Options options = ControlFamily();
  options.family = "no such thing";
  Result<std::unique_ptr<GenlSocket>> none = GenlSocket::Open(options);
  REQUIRE(!none.ok());
  CHECK_EQ(none.failure().error, ENOENT);
  CHECK_EQ(std::string(none.failure().operation), "family");
}

TEST("5,000 requests that fail or give data lose no reply") {
  Result<std::unique_ptr<GenlSocket>> genl = GenlSocket::Open(ControlFamily());
  REQUIRE(genl.ok());
  std::vector<ByteVector> requests;
  for (int i = 0; i < 5000; ++i) {
    requests.push_back(i % 3 == 0 ? GetFamily("nlctrl") : Genl(kGetFamily));
  }
  const BatchResult result = genl.value()->Batch(View(requests));
  CHECK(!result.failure);
  for (size_t i = 0; i < requests.size(); ++i) {
    REQUIRE(result.outcomes[i]);
    if (i % 3 == 0) {
      REQUIRE(!result.outcomes[i]->data.empty());
    } else {
      REQUIRE(result.outcomes[i]->failure && result.outcomes[i]->failure->error == EINVAL);
    }
  }
}

TEST("replies that overrun the receive buffer are ENOBUFS, and the socket goes on") {
  NetlinkSocket::Options options;
  options.receive_buffer_bytes = 4096;
  Opened opened = OpenWithFd(options);
  REQUIRE(opened.genl);
  opened.genl->set_max_requests_per_send(500);
  const std::vector<ByteVector> failing(600, Genl(kGetFamily));
  for (int round = 0; round < 3; ++round) {
    const BatchResult result = opened.genl->Batch(View(failing));
    CHECK(!result.failure);
    int answered = 0;
    int lost = 0;
    for (size_t i = 0; i < failing.size(); ++i) {
      REQUIRE(result.outcomes[i] && result.outcomes[i]->failure);
      if (result.outcomes[i]->failure->error == EINVAL) ++answered;
      if (result.outcomes[i]->failure->error == ENOBUFS) ++lost;
    }
    CHECK(answered > 0);
    CHECK(lost > 0);
    CHECK_EQ(answered + lost, 600);
    // The overrun is told at once, and not by the deadline.
    const std::vector<ByteVector> single = {GetFamily("nlctrl")};
    CHECK_EQ(Summary(opened.genl->Batch(View(single))), "data");
    const ByteVector dump = Genl(kGetFamily);
    CHECK(!opened.genl->Dump(View(dump)).failure);
  }
}

TEST("the bound of a send follows a receive buffer that is small") {
  NetlinkSocket::Options options;
  options.receive_buffer_bytes = 64 << 10;
  Opened opened = OpenWithFd(options);
  REQUIRE(opened.genl);
  const std::vector<ByteVector> requests(1000, GetFamily("nlctrl"));
  const BatchResult result = opened.genl->Batch(View(requests));
  for (const auto& outcome : result.outcomes) REQUIRE(outcome && !outcome->data.empty());
}

TEST("a message of another process is not the kernel's") {
  if (geteuid() != 0) SKIP("root");
  Opened opened = OpenWithFd({});
  REQUIRE(opened.genl);
  sockaddr_nl to = {};
  socklen_t size = sizeof(to);
  REQUIRE(getsockname(opened.fd.get(), reinterpret_cast<sockaddr*>(&to), &size) == 0);
  Result<UniqueFd> other = OpenGenericNetlink();
  REQUIRE(other.ok());
  // With the number that the next request will have: 1 resolved the family.
  for (const ByteVector& forged : {Error(2, 99), ByteVector{1, 2, 3}}) {
    REQUIRE(sendto(other.value().get(), forged.data(), forged.size(), 0,
                   reinterpret_cast<sockaddr*>(&to), sizeof(to)) > 0);
  }
  const std::vector<ByteVector> requests = {GetFamily("nlctrl")};
  CHECK_EQ(Summary(opened.genl->Batch(View(requests))), "data");
}

TEST("a dump that was left unread is EBUSY to the next or no matter, and mixes with none") {
  Opened opened = OpenWithFd({});
  REQUIRE(opened.genl);
  const ByteVector request = Genl(kGetFamily);
  const std::string expected = Summary(opened.genl->Dump(View(request)));
  const ByteVector abandoned = RawMessage(16, 0x301, 4000, Genl(kGetFamily));
  REQUIRE(send(opened.fd.get(), abandoned.data(), abandoned.size(), 0) > 0);
  // A new kernel may have put the whole dump into one datagram, and is done.
  const std::string next = Summary(opened.genl->Dump(View(request)));
  CHECK(next == "16 reply" || next == expected);
  CHECK_EQ(Summary(opened.genl->Dump(View(request))), expected);
}

TEST("a dump of dumps of the real kernel is the dump, with a dump after each message") {
  Result<std::unique_ptr<GenlSocket>> genl = GenlSocket::Open(ControlFamily());
  REQUIRE(genl.ok());
  const ByteVector request = Genl(kGetFamily);
  const std::string plain = Summary(genl.value()->Dump(View(request)));
  CHECK(!plain.empty() && plain[0] == '1');
  // nlctrl's own dump takes no notice of the attribute.
  const size_t families = (plain.size() + 1) / 2;
  const std::string nested =
      Summary(genl.value()->DumpOfDumps(View(request), kGetFamily, 2));
  CHECK_EQ((nested.size() + 1) / 2, families + families * families);
}

void OnSignal(int) {}

TEST("a storm of signals changes nothing") {
  struct sigaction action = {};
  struct sigaction before;
  // Without SA_RESTART, so that system calls end with EINTR.
  action.sa_handler = OnSignal;
  REQUIRE(sigaction(SIGUSR1, &action, &before) == 0);
  const pthread_t target = pthread_self();
  std::atomic<bool> stop = false;
  std::thread storm([&] {
    while (!stop) pthread_kill(target, SIGUSR1);
  });

  Result<std::unique_ptr<GenlSocket>> genl = GenlSocket::Open(ControlFamily());
  CHECK(genl.ok());
  if (genl.ok()) {
    const std::vector<ByteVector> requests(50, GetFamily("nlctrl"));
    const ByteVector dump = Genl(kGetFamily);
    for (int i = 0; i < 100; ++i) {
      const BatchResult result = genl.value()->Batch(View(requests));
      CHECK(!result.failure);
      CHECK(!genl.value()->Dump(View(dump)).failure);
    }
  }
  // And a wait that is interrupted all the time still ends at its deadline.
  FakeKernel silent(50);
  const std::vector<ByteVector> requests = {Genl(1)};
  CHECK_EQ(Summary(silent.genl().Batch(View(requests))), "failed 110 poll: 110");

  stop = true;
  storm.join();
  sigaction(SIGUSR1, &before, nullptr);
}

TEST("sockets on several threads do not know of each other") {
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        Result<std::unique_ptr<GenlSocket>> genl = GenlSocket::Open(ControlFamily());
        if (!genl.ok()) continue;
        const std::vector<ByteVector> requests = {GetFamily("nlctrl"), Genl(kGetFamily),
                                                  GetFamily("nlctrl")};
        const ByteVector dump = Genl(kGetFamily);
        if (Summary(genl.value()->Batch(View(requests))) == "data 22 data" &&
            !genl.value()->Dump(View(dump)).failure) {
          ++good;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(good.load(), 40);
}

TEST("a socket that moves from thread to thread keeps what it was") {
  Result<std::unique_ptr<GenlSocket>> genl = GenlSocket::Open(ControlFamily());
  REQUIRE(genl.ok());
  const std::vector<ByteVector> requests = {GetFamily("nlctrl")};
  for (int i = 0; i < 20; ++i) {
    std::string summary;
    std::thread([&] { summary = Summary(genl.value()->Batch(View(requests))); }).join();
    CHECK_EQ(summary, "data");
  }
}

}  // namespace
}  // namespace ipvs::test
