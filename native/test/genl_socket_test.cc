// GenlSocket against a fake kernel: what a real one does seldom or never.
#include "genl_socket.h"

#include <errno.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>

#include "check.h"
#include "fake_kernel.h"

namespace ipvs::test {
namespace {

// For tests that wait until it is over. A reply that does come must be there by
// then on a machine under load too.
constexpr int kShortMs = 100;

std::vector<ByteVector> Commands(size_t count) {
  std::vector<ByteVector> requests;
  for (size_t i = 0; i < count; ++i) {
    requests.push_back(Genl(static_cast<uint8_t>(1 + i % 100), Attribute(1, U32(i))));
  }
  return requests;
}

std::string RunBatch(FakeKernel& kernel, size_t count) {
  const std::vector<ByteVector> requests = Commands(count);
  return Summary(kernel.genl().Batch(View(requests)));
}

std::string RunDump(FakeKernel& kernel) {
  const ByteVector request = Genl(4);
  return Summary(kernel.genl().Dump(View(request)));
}

std::string RunDumpOfDumps(FakeKernel& kernel) {
  const ByteVector outer = Genl(4);
  return Summary(kernel.genl().DumpOfDumps(View(outer), 8, 1));
}

// ---- Batches

TEST("a batch without requests sends nothing") {
  FakeKernel kernel;
  CHECK_EQ(RunBatch(kernel, 0), "");
  CHECK_EQ(kernel.TakeSend().size(), 0u);
}

TEST("a batch asks for one ACK, of a NOOP behind its last request") {
  FakeKernel kernel;
  kernel.Queue(Ack(3));
  CHECK_EQ(RunBatch(kernel, 3), "0 0 0");
  const std::vector<SeenRequest> seen = kernel.TakeSend();
  REQUIRE(seen.size() == 3);
  for (uint32_t i = 0; i < 3; ++i) {
    CHECK_EQ(seen[i].type, kFakeFamily);
    CHECK_EQ(seen[i].flags, 1);
    CHECK_EQ(seen[i].sequence, i + 1);
    CHECK(seen[i].payload == Commands(3)[i]);
  }
  CHECK_EQ(kernel.end_of_send().type, 1);
  CHECK_EQ(kernel.end_of_send().flags, 5);
  CHECK_EQ(kernel.end_of_send().sequence, 3u);
  CHECK(kernel.end_of_send().payload.empty());
}

TEST("each request of a batch has its own outcome") {
  FakeKernel kernel;
  kernel.Queue(Error(1, 17));
  kernel.Queue(Data(3, 12, Attribute(4, U32(900))));
  kernel.Queue(Error(4, 34, "Attribute failed policy validation"));
  kernel.Queue(Ack(5));
  const std::vector<ByteVector> requests = Commands(5);
  const BatchResult result = kernel.genl().Batch(View(requests));
  CHECK_EQ(Summary(result), "17 0 data 34 0");
  CHECK(result.outcomes[2]->data == Data(3, 12, Attribute(4, U32(900))));
  CHECK_EQ(result.outcomes[3]->failure->message, "Attribute failed policy validation");
  CHECK_EQ(std::string(result.outcomes[3]->failure->operation), "reply");
}

TEST("a batch whose last request fails ends with the ACK behind it") {
  FakeKernel kernel;
  kernel.Queue(Error(2, 3));
  kernel.Queue(Ack(2));
  CHECK_EQ(RunBatch(kernel, 2), "0 3");
  // Nothing of it is left for the next.
  kernel.Queue(Ack(3));
  CHECK_EQ(RunBatch(kernel, 1), "0");
}

TEST("a last request may have data before the ACK") {
  FakeKernel kernel;
  kernel.Queue(Data(1, 1));
  kernel.Queue(Data(1, 1));
  kernel.Queue(Ack(1));
  const std::vector<ByteVector> requests = Commands(1);
  const BatchResult result = kernel.genl().Batch(View(requests));
  CHECK_EQ(Summary(result), "data");
  CHECK_EQ(result.outcomes[0]->data.size(), 40u);
}

TEST("a batch is cut into sends, each with an ACK at its end") {
  FakeKernel kernel;
  kernel.genl().set_max_requests_per_send(2);
  kernel.Plan({Ack(2)});
  kernel.Plan({Error(3, 3), Ack(4)});
  kernel.Plan({Ack(5)});
  CHECK_EQ(RunBatch(kernel, 5), "0 0 3 0 0");
  CHECK_EQ(kernel.TakeSend().size(), 2u);
  CHECK_EQ(kernel.TakeSend().size(), 2u);
  const std::vector<SeenRequest> last = kernel.TakeSend();
  REQUIRE(last.size() == 1);
  CHECK_EQ(kernel.end_of_send().sequence, 5u);
}

TEST("a send is no longer than the send buffer allows, and a request that is fails alone") {
  FakeKernel kernel;
  const ByteVector big = Genl(5, ByteVector(30000));
  // Beside its own header and genlmsghdr, the NOOP must fit.
  const ByteVector too_big = Genl(5, ByteVector(65536 - 16 - 16 - 4 + 1));
  const ByteVector fits = Genl(5, ByteVector(65536 - 16 - 16 - 4));
  kernel.Plan({Ack(2)});
  kernel.Plan({Ack(3)});
  kernel.Plan({Ack(4)});
  const std::vector<ByteVector> requests = {big, big, big, too_big, fits};
  CHECK_EQ(Summary(kernel.genl().Batch(View(requests))), "0 0 0 90 0");
  CHECK_EQ(kernel.TakeSend().size(), 2u);
  CHECK_EQ(kernel.TakeSend().size(), 1u);
  CHECK_EQ(kernel.TakeSend().size(), 1u);
}

TEST("many replies in one datagram and many datagrams are the same") {
  FakeKernel kernel;
  ByteVector all;
  for (uint32_t i = 1; i < 100; ++i) all = Concat({all, Error(i, 17)});
  kernel.Queue(Concat({all, Ack(100)}));
  std::string expected;
  for (int i = 1; i < 100; ++i) expected += "17 ";
  CHECK_EQ(RunBatch(kernel, 100), expected + "0");

  for (uint32_t i = 101; i < 200; ++i) kernel.Queue(Error(i, 17));
  kernel.Queue(Ack(200));
  CHECK_EQ(RunBatch(kernel, 100), expected + "0");
}

TEST("a lost ACK is ETIMEDOUT for what was not answered, ECANCELED for what was not sent") {
  FakeKernel kernel(kShortMs);
  kernel.genl().set_max_requests_per_send(3);
  kernel.Queue(Error(2, 17));
  CHECK_EQ(RunBatch(kernel, 5), "failed 110 poll: 110 17 110 125 125");
}

TEST("a late reply of one call is never taken for a reply of the next") {
  FakeKernel kernel(kShortMs);
  kernel.Plan({});
  kernel.Plan({});
  CHECK_EQ(RunBatch(kernel, 1), "failed 110 poll: 110");
  CHECK_EQ(RunBatch(kernel, 1), "failed 110 poll: 110");
  // Late enough to be dropped before the next request, and later than that.
  kernel.Queue(Error(1, 1));
  kernel.Plan({Error(1, 1), Error(2, 2), Ack(2), Error(3, 3), Ack(3)});
  CHECK_EQ(RunBatch(kernel, 1), "3");
}

TEST("replies with a foreign sequence number are skipped") {
  FakeKernel kernel;
  kernel.Queue(Error(77, 1));
  kernel.Queue(Concat({Data(0, 1), Error(1, 17), Ack(3)}));
  kernel.Queue(Ack(2));
  CHECK_EQ(RunBatch(kernel, 2), "17 0");
}

TEST("foreign messages without end do not move the deadline") {
  FakeKernel kernel(kShortMs);
  const auto begin = std::chrono::steady_clock::now();
  kernel.PlanFlood(Ack(1000));
  CHECK_EQ(RunBatch(kernel, 1).substr(0, 10), "failed 110");

  FakeKernel other(kShortMs);
  other.PlanFlood(DumpData(1000, 1));
  CHECK_EQ(RunDump(other).substr(0, 3), "110");
  // Each took its 100 ms, and not until the flood happened to pause.
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(3));
}

TEST("sequence numbers go on over the end of their range") {
  FakeKernel kernel;
  kernel.genl().set_next_sequence(0xfffffffe);
  kernel.Queue(Error(0xffffffff, 17));
  kernel.Queue(Error(0, 3));
  kernel.Queue(Ack(1));
  CHECK_EQ(RunBatch(kernel, 4), "0 17 3 0");
}

TEST("a reply that is longer than the room for it is EMSGSIZE for its request alone") {
  FakeKernel kernel;
  kernel.Queue(Data(1, 1, ByteVector(40000)));
  kernel.Queue(Ack(2));
  CHECK_EQ(RunBatch(kernel, 2), "90 0");
}

TEST("a last error that is longer than the room for it is EMSGSIZE for its request") {
  FakeKernel kernel;
  kernel.Queue(RawMessage(2, 0, 1, ByteVector(40000)));
  kernel.Queue(Ack(1));
  CHECK_EQ(RunBatch(kernel, 1), "90");
}

TEST("a batch ends with EBADMSG at a malformed reply, and the socket can be used after it") {
  FakeKernel kernel;
  ByteVector bad = Error(1, 17);
  bad[0] = 15;
  kernel.Queue(bad);
  kernel.Queue(Ack(2));
  kernel.Plan({});
  kernel.Plan({Ack(3)});
  CHECK_EQ(RunBatch(kernel, 2), "failed 74 recvmmsg: 74 74");
  // What else was to come of that call does no harm, whatever it is.
  kernel.Queue(bad);
  CHECK_EQ(RunBatch(kernel, 1), "0");
}

TEST("a valid reply cut at any length is EBADMSG or no reply") {
  const ByteVector whole = Concat({Data(1, 5, Attribute(1, U32(1))), Error(1, 3, "text")});
  for (size_t size = 1; size < whole.size(); ++size) {
    FakeKernel kernel(1);
    kernel.Queue(ByteVector(whole.begin(), whole.begin() + size));
    const std::string got = RunBatch(kernel, 1);
    // After the first message there is nothing wrong, only nothing more.
    CHECK_EQ(got, size == 28 ? "failed 110 poll: data" : got.find("data") != std::string::npos
                                                             ? "failed 74 recvmmsg: data"
                                                             : "failed 74 recvmmsg: 74");
  }
  for (size_t size = 1; size < whole.size(); ++size) {
    FakeKernel kernel(1);
    kernel.Queue(ByteVector(whole.begin(), whole.begin() + size));
    CHECK_EQ(RunDump(kernel), size == 28 ? "110 poll" : "74 recvmmsg");
  }
}

TEST("a stale family id is resolved again and the requests are sent again, once") {
  FakeKernel kernel;
  kernel.Plan({Error(1, 2), Error(3, 2), Ack(3)});
  kernel.Plan({FamilyReply(4, 29), Ack(4)});
  kernel.Plan({Error(5, 2), Ack(6)});
  // Of three requests two had ENOENT; they alone are sent again, and an ENOENT
  // of the new family stands.
  CHECK_EQ(RunBatch(kernel, 3), "2 0 0");
  CHECK_EQ(kernel.genl().family_id(), 29);
  CHECK_EQ(kernel.TakeSend().size(), 3u);
  const std::vector<SeenRequest> lookup = kernel.TakeSend();
  REQUIRE(lookup.size() == 1);
  CHECK_EQ(lookup[0].type, 16);
  CHECK(lookup[0].payload == Genl(3, Attribute(2, Text("fake"))));
  const std::vector<SeenRequest> again = kernel.TakeSend();
  REQUIRE(again.size() == 2);
  CHECK_EQ(again[0].type, 29);
  CHECK(again[0].payload == Commands(3)[0]);
  CHECK(again[1].payload == Commands(3)[2]);
  CHECK_EQ(kernel.TakeSend().size(), 0u);
}

TEST("an ENOENT of a family whose id is the same is an answer") {
  FakeKernel kernel;
  kernel.Plan({Error(1, 2), Ack(1)});
  kernel.Plan({FamilyReply(2, kFakeFamily), Ack(2)});
  CHECK_EQ(RunBatch(kernel, 1), "2");
  kernel.TakeSend();
  kernel.TakeSend();
  CHECK_EQ(kernel.TakeSend().size(), 0u);
}

TEST("a family that is gone is told as that") {
  FakeKernel kernel;
  kernel.Plan({Error(1, 2), Ack(1)});
  kernel.Plan({Error(2, 2), Ack(2)});
  kernel.Plan({Error(3, 2)});
  kernel.Plan({Error(4, 2), Ack(4)});
  const std::vector<ByteVector> requests = Commands(1);
  const BatchResult result = kernel.genl().Batch(View(requests));
  CHECK_EQ(Summary(result), "2");
  CHECK_EQ(std::string(result.outcomes[0]->failure->operation), "family");
  CHECK_EQ(RunDump(kernel), "2 family");
}

TEST("a family reply without an id is EBADMSG") {
  FakeKernel kernel;
  kernel.Queue(RawMessage(16, 0, 1, Genl(1, Attribute(1, {7}))));
  kernel.Queue(Ack(1));
  const Status status = kernel.genl().ResolveFamily();
  REQUIRE(!status.ok());
  CHECK_EQ(status.failure().error, EBADMSG);
}

// ---- Dumps

TEST("a dump collects the messages up to its DONE") {
  FakeKernel kernel;
  kernel.Queue(Concat({DumpData(1, 1), DumpData(1, 2)}));
  kernel.Queue(DumpData(1, 3));
  kernel.Queue(Done(1));
  CHECK_EQ(RunDump(kernel), "1 2 3");
  const std::vector<SeenRequest> seen = kernel.TakeSend();
  REQUIRE(seen.size() == 1);
  CHECK_EQ(seen[0].flags, 0x301);
}

TEST("a DONE may come with data, and a dump may have none") {
  FakeKernel kernel;
  kernel.Queue(Concat({DumpData(1, 1), Done(1)}));
  CHECK_EQ(RunDump(kernel), "1");
  kernel.Queue(Done(2));
  CHECK_EQ(RunDump(kernel), "");
}

TEST("a dump leaves out what is not its own, wherever that stands") {
  FakeKernel kernel;
  const ByteVector foreign = DumpData(99, 9, Attribute(1, ByteVector(100)));
  kernel.Queue(Concat({foreign, DumpData(1, 1), foreign, DumpData(1, 2)}));
  kernel.Queue(Concat({foreign, Done(99), foreign}));
  kernel.Queue(Concat({DumpData(1, 3), foreign, DumpData(1, 4), Done(1), foreign}));
  CHECK_EQ(RunDump(kernel), "1 2 3 4");
}

TEST("a long dump keeps its order over datagrams and blocks") {
  FakeKernel kernel;
  constexpr int kDatagrams = 120;
  std::vector<ByteVector> replies;
  for (int i = 0; i < kDatagrams; ++i) {
    replies.push_back(DumpData(1, static_cast<uint8_t>(i), Attribute(1, ByteVector(32000))));
  }
  replies.push_back(Done(1));
  kernel.Plan(replies);
  std::string expected;
  for (int i = 0; i < kDatagrams; ++i) expected += (i == 0 ? "" : " ") + std::to_string(i);
  CHECK_EQ(RunDump(kernel), expected);
}

TEST("a dump that the kernel calls interrupted says so, on data or on DONE") {
  for (const bool on_done : {false, true}) {
    FakeKernel kernel;
    kernel.Queue(DumpData(1, 1, {}, on_done ? 0 : 0x10));
    kernel.Queue(Done(1, 0, on_done ? 0x10 : 0));
    const ByteVector request = Genl(4);
    const DumpResult result = kernel.genl().Dump(View(request));
    CHECK_EQ(Summary(result), "1");
    CHECK(result.interrupted);
    kernel.Queue(DumpData(2, 1));
    kernel.Queue(Done(2));
    CHECK(!kernel.genl().Dump(View(request)).interrupted);
  }
}

TEST("a dump ends with the error of its DONE, or with an error that has no DONE") {
  FakeKernel kernel;
  kernel.Queue(DumpData(1, 1));
  kernel.Queue(Done(1, 12));
  CHECK_EQ(RunDump(kernel), "12 reply");
  kernel.Queue(Error(2, 1));
  CHECK_EQ(RunDump(kernel), "1 reply");
  kernel.Queue(Done(3));
  CHECK_EQ(RunDump(kernel), "");
}

TEST("a dump with a stale family id is tried again, once") {
  FakeKernel kernel;
  kernel.Plan({Error(1, 2)});
  kernel.Plan({FamilyReply(2, 29), Ack(2)});
  kernel.Plan({DumpData(3, 7), Done(3)});
  CHECK_EQ(RunDump(kernel), "7");
  kernel.Plan({Error(4, 2)});
  kernel.Plan({FamilyReply(5, 30), Ack(5)});
  kernel.Plan({Error(6, 2)});
  CHECK_EQ(RunDump(kernel), "2 reply");
}

TEST("a dump without an end is ETIMEDOUT, and what comes of it later is dropped") {
  FakeKernel kernel(kShortMs);
  kernel.Plan({DumpData(1, 1)});
  kernel.Plan({DumpData(1, 3), Done(1), DumpData(2, 4), Done(2)});
  CHECK_EQ(RunDump(kernel), "110 poll");
  kernel.Queue(DumpData(1, 2));
  kernel.Queue({1, 2, 3});
  CHECK_EQ(RunDump(kernel), "4");
}

TEST("what a dump left that made the next one EBUSY is dropped before the one after") {
  FakeKernel kernel;
  kernel.Plan({Error(1, 16)});
  kernel.Plan({DumpData(2, 4), Done(2)});
  CHECK_EQ(RunDump(kernel), "16 reply");
  kernel.Queue({1, 2, 3});
  CHECK_EQ(RunDump(kernel), "4");
}

TEST("a dump message that is longer than the room for it is EMSGSIZE") {
  FakeKernel kernel;
  kernel.Queue(DumpData(1, 1, Attribute(1, ByteVector(40000))));
  CHECK_EQ(RunDump(kernel), "90 recvmmsg");
}

TEST("a dump request that is longer than a send is EMSGSIZE") {
  FakeKernel kernel;
  const ByteVector request = Genl(4, ByteVector(65536));
  CHECK_EQ(Summary(kernel.genl().Dump(View(request))), "90 sendmsg");
}

// ---- Dumps of dumps

TEST("a dump of dumps has each outer message and then what its inner dump gave") {
  FakeKernel kernel;
  const ByteVector one = Attribute(1, Concat({Attribute(3, U32(10)), Attribute(4, U16(80))}));
  const ByteVector two = Attribute(1, Attribute(5, U32(7)));
  kernel.Plan({Concat({DumpData(1, 1, one), DumpData(1, 2, two)}), Done(1)});
  kernel.Plan({Concat({DumpData(2, 51), DumpData(2, 52)}), Done(2)});
  kernel.Plan({Done(3)});
  CHECK_EQ(RunDumpOfDumps(kernel), "1 51 52 2");
  CHECK_EQ(kernel.TakeSend().size(), 1u);
  std::vector<SeenRequest> inner = kernel.TakeSend();
  REQUIRE(inner.size() == 1);
  CHECK_EQ(inner[0].flags, 0x301);
  CHECK(inner[0].payload == Genl(8, one));
  inner = kernel.TakeSend();
  REQUIRE(inner.size() == 1);
  CHECK(inner[0].payload == Genl(8, two));
}

TEST("an outer message without the attribute has no inner dump") {
  FakeKernel kernel;
  kernel.Plan({Concat({DumpData(1, 1), DumpData(1, 2, Attribute(1, U32(7)))}), Done(1)});
  kernel.Plan({DumpData(2, 50), Done(2)});
  CHECK_EQ(RunDumpOfDumps(kernel), "1 2 50");
}

TEST("an inner dump that fails is the failure of the call") {
  FakeKernel kernel;
  kernel.Plan({Concat({DumpData(1, 1, Attribute(1, {})), DumpData(1, 2, Attribute(1, {}))}),
               Done(1)});
  kernel.Plan({Error(2, 1)});
  CHECK_EQ(RunDumpOfDumps(kernel), "1 reply");
}

TEST("a family that goes stale within a dump of dumps makes it start over") {
  FakeKernel kernel;
  kernel.Plan({DumpData(1, 1, Attribute(1, {})), Done(1)});
  kernel.Plan({Error(2, 2)});
  kernel.Plan({FamilyReply(3, 29), Ack(3)});
  kernel.Plan({DumpData(4, 2, Attribute(1, {})), Done(4)});
  kernel.Plan({DumpData(5, 50), Done(5)});
  CHECK_EQ(RunDumpOfDumps(kernel), "2 50");
}

// ---- Anything at all

// Bytes that are likely to be taken for something: real messages with bytes
// changed, cut and glued.
ByteVector Garbage(std::mt19937* random) {
  const auto below = [&](uint32_t limit) { return (*random)() % limit; };
  ByteVector bytes;
  const uint32_t parts = below(5);
  for (uint32_t i = 0; i < parts; ++i) {
    const uint32_t sequence = below(8) == 0 ? (*random)() : 1 + below(3);
    ByteVector part;
    switch (below(6)) {
      case 0:
        part = Error(sequence, static_cast<int>(below(133)), below(2) != 0 ? "text" : "");
        break;
      case 1:
        part = Done(sequence, static_cast<int>(below(3)));
        break;
      case 2:
        part = FamilyReply(sequence, static_cast<uint16_t>(below(40)));
        break;
      case 3:
        for (uint32_t k = below(60); k > 0; --k) part.push_back(static_cast<uint8_t>(below(256)));
        break;
      default:
        part = DumpData(sequence, static_cast<uint8_t>(below(256)),
                        Attribute(static_cast<uint16_t>(below(3)), ByteVector(below(40))),
                        below(4) == 0 ? 0x10 : 0);
    }
    for (uint32_t k = below(3); k > 0 && !part.empty(); --k) {
      part[below(part.size())] = static_cast<uint8_t>(below(2) != 0 ? below(256) : below(8));
    }
    if (below(8) == 0) part.resize(below(part.size() + 1));
    bytes = Concat({bytes, part});
  }
  if (bytes.empty()) bytes.push_back(static_cast<uint8_t>(below(256)));
  return bytes;
}

TEST("10,000 garbage replies end every call, with an outcome for each request") {
  std::random_device device;
  const uint32_t seed = device();
  std::printf("  seed %u\n", seed);
  std::mt19937 random(seed);
  for (int replies = 0; replies < 10000;) {
    FakeKernel kernel(1);
    for (uint32_t count = 1 + random() % 6; count > 0; --count, ++replies) {
      kernel.Queue(Garbage(&random));
    }
    switch (random() % 3) {
      case 0: {
        const std::vector<ByteVector> requests = Commands(1 + random() % 3);
        const BatchResult result = kernel.genl().Batch(View(requests));
        CHECK_EQ(result.outcomes.size(), requests.size());
        for (const auto& outcome : result.outcomes) {
          if (outcome) CHECK(outcome->failure || !outcome->data.empty());
          if (outcome && outcome->failure) CHECK(outcome->failure->error > 0);
        }
        break;
      }
      case 1: {
        const DumpResult result = [&] {
          const ByteVector request = Genl(4);
          return kernel.genl().Dump(View(request));
        }();
        if (result.failure) CHECK(result.failure->error > 0 && result.messages.empty());
        break;
      }
      default:
        // Walks all that was kept.
        RunDumpOfDumps(kernel);
    }
  }
}

}  // namespace
}  // namespace ipvs::test
