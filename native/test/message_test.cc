#include "message.h"

#include <cstring>
#include <memory>

#include "check.h"
#include "fake_kernel.h"
#include "message_blocks.h"

namespace ipvs::test {
namespace {

// On the heap and of exactly this size, so that the address sanitizer sees a
// read past the end.
struct ExactBytes {
  explicit ExactBytes(const ByteVector& bytes, size_t size)
      : data(new uint8_t[size]), size(size) {
    std::memcpy(data.get(), bytes.data(), size);
  }
  Bytes view() const { return {data.get(), size}; }

  std::unique_ptr<uint8_t[]> data;
  size_t size;
};

Ending Read(const ByteVector& bytes, bool* valid) {
  Message message;
  MessageReader reader(View(bytes));
  reader.Next(&message);
  Ending ending;
  *valid = ReadEnding(message, &ending);
  return ending;
}

TEST("a reader steps from message to message over the padding") {
  const ByteVector odd = RawMessage(28, 0, 7, {5, 1, 0, 0, 9});
  const ByteVector bytes = Concat({odd, Ack(8)});
  MessageReader reader(View(bytes));
  Message message;
  CHECK(reader.Next(&message) == MessageReader::Step::kMessage);
  CHECK_EQ(message.header.nlmsg_seq, 7u);
  CHECK_EQ(message.payload.size, 5u);
  CHECK_EQ(message.bytes.size, 21u);
  CHECK(message.IsData());
  CHECK(reader.Next(&message) == MessageReader::Step::kMessage);
  CHECK_EQ(message.header.nlmsg_seq, 8u);
  CHECK(!message.IsData());
  CHECK(reader.Next(&message) == MessageReader::Step::kEnd);
}

TEST("a reader takes a last message whose padding was left out") {
  ByteVector bytes = RawMessage(28, 0, 7, {5, 1, 0, 0, 9});
  bytes.resize(21);
  MessageReader reader(View(bytes));
  Message message;
  CHECK(reader.Next(&message) == MessageReader::Step::kMessage);
  CHECK(reader.Next(&message) == MessageReader::Step::kEnd);
}

TEST("a datagram cut at any length is a shorter one or malformed") {
  const ByteVector first = Data(1, 5, Attribute(1, U32(7)));
  const ByteVector bytes = Concat({first, Error(2, 3, "no such thing")});
  for (size_t size = 0; size < bytes.size(); ++size) {
    const ExactBytes cut(bytes, size);
    MessageReader reader(cut.view());
    Message message;
    MessageReader::Step step;
    int count = 0;
    while ((step = reader.Next(&message)) == MessageReader::Step::kMessage) ++count;
    CHECK_EQ(count, size >= first.size() ? 1 : 0);
    CHECK((step == MessageReader::Step::kEnd) == (size == 0 || size == first.size()));
  }
}

TEST("what is cut in a truncated datagram is told by its header, and is the last") {
  const ByteVector first = Data(1, 5, Attribute(1, U32(7)));
  const ByteVector bytes = Concat({first, Error(2, 3, "no such thing")});
  for (size_t size = first.size() + 1; size < bytes.size(); ++size) {
    const ExactBytes cut(bytes, size);
    MessageReader reader(cut.view(), true);
    Message message;
    CHECK(reader.Next(&message) == MessageReader::Step::kMessage);
    CHECK(reader.Next(&message) == MessageReader::Step::kTruncated);
    CHECK_EQ(message.header.nlmsg_seq, size - first.size() >= sizeof(nlmsghdr) ? 2u : 0u);
    CHECK_EQ(message.bytes.size, 0u);
    CHECK(reader.Next(&message) == MessageReader::Step::kEnd);
  }
}

TEST("a message length below a header or past the end is malformed") {
  for (const uint32_t length : {0u, 1u, 15u, 25u, 0x7fffffffu, 0xffffffffu}) {
    ByteVector bytes = Data(1, 5, Attribute(1, {}));
    std::memcpy(bytes.data(), &length, sizeof(length));
    MessageReader reader(View(bytes));
    Message message;
    CHECK(reader.Next(&message) == MessageReader::Step::kMalformed);
    CHECK_EQ(message.header.nlmsg_seq, 1u);
  }
}

TEST("an ACK is an ending without an error") {
  bool valid;
  const Ending ending = Read(Ack(1), &valid);
  CHECK(valid);
  CHECK_EQ(ending.error, 0);
  CHECK_EQ(ending.text, "");
}

TEST("an error has its errno and the kernel's text") {
  bool valid;
  const Ending ending = Read(Error(1, 34, "Attribute failed policy validation"), &valid);
  CHECK(valid);
  CHECK_EQ(ending.error, 34);
  CHECK_EQ(ending.text, "Attribute failed policy validation");
}

TEST("the text is found behind a request that was echoed whole") {
  // Not capped: 36 bytes of request, as its header says.
  const ByteVector request = Concat({U32(36), U16(28), U16(5), U32(1), U32(0), ByteVector(20)});
  const ByteVector bytes =
      RawMessage(2, 0x200, 1, Concat({U32(static_cast<uint32_t>(-22)), request,
                                      Attribute(2, U32(20)), Attribute(1, Text("why"))}));
  bool valid;
  const Ending ending = Read(bytes, &valid);
  CHECK(valid);
  CHECK_EQ(ending.error, 22);
  CHECK_EQ(ending.text, "why");
}

TEST("a text without its NUL ends where its attribute ends") {
  const ByteVector header = Concat({U32(36), U16(28), U16(5), U32(1), U32(0)});
  const ByteVector bytes = RawMessage(
      2, 0x300, 1, Concat({U32(static_cast<uint32_t>(-22)), header, Attribute(1, {'a', 'b'})}));
  bool valid;
  CHECK_EQ(Read(bytes, &valid).text, "ab");
  CHECK(valid);
}

TEST("a DONE has an error code and a text too") {
  bool valid;
  CHECK_EQ(Read(Done(1, 12), &valid).error, 12);
  CHECK(valid);
  const ByteVector bytes = RawMessage(3, 0x202, 1, Concat({U32(0), Attribute(1, Text("left"))}));
  const Ending ending = Read(bytes, &valid);
  CHECK(valid);
  CHECK_EQ(ending.error, 0);
  CHECK_EQ(ending.text, "left");
}

TEST("an ending that is cut or has an impossible errno is not valid") {
  const ByteVector whole = Error(1, 3, "text");
  for (size_t payload = 0; payload < 20; ++payload) {
    bool valid;
    Read(RawMessage(2, 0x300, 1, ByteVector(whole.begin() + 16, whole.begin() + 16 + payload)),
         &valid);
    CHECK(!valid);
  }
  bool valid;
  Read(RawMessage(3, 2, 1, {0, 0}), &valid);
  CHECK(!valid);
  Read(RawMessage(3, 2, 1, U32(5)), &valid);
  CHECK(!valid);
  Read(RawMessage(3, 2, 1, U32(0x80000000)), &valid);
  CHECK(!valid);
}

TEST("an error whose TLVs are cut keeps its errno") {
  const ByteVector whole = Error(1, 3, "text");
  for (size_t size = 36; size < whole.size(); ++size) {
    const ByteVector payload(whole.begin() + 16, whole.begin() + size);
    bool valid;
    CHECK_EQ(Read(RawMessage(2, 0x300, 1, payload), &valid).error, 3);
    CHECK(valid);
  }
}

TEST("an attribute is found by its number whatever its flag bits") {
  const ByteVector payload = Genl(1, Concat({Attribute(3, {1}), Attribute(0x8001, U32(9)),
                                             Attribute(1, U32(10))}));
  const Bytes found = FindAttribute(View(payload), 1);
  REQUIRE(found.size == 8);
  CHECK(found.data == payload.data() + 4 + 8);
  CHECK_EQ(FindAttribute(View(payload), 2).size, 0u);
}

TEST("a search for an attribute stops at one that is malformed") {
  const ByteVector good = Attribute(1, U32(9));
  for (const uint16_t length : {0, 3, 200, 65535}) {
    ByteVector bad = Attribute(2, U32(1));
    std::memcpy(bad.data(), &length, sizeof(length));
    const ByteVector payload = Genl(1, Concat({bad, good}));
    CHECK_EQ(FindAttribute(View(payload), 1).size, 0u);
  }
  const ByteVector payload = Genl(1, good);
  for (size_t size = 0; size < payload.size(); ++size) {
    const ExactBytes cut(payload, size);
    CHECK_EQ(FindAttribute(cut.view(), 1).size, 0u);
  }
}

TEST("blocks grow, keep messages whole and at multiples of four") {
  BlockPool pool;
  MessageBlocks blocks(&pool);
  const ByteVector message = RawMessage(28, 2, 1, ByteVector(30001, 0xab));
  const size_t size = 16 + 30001;
  for (int i = 0; i < 100; ++i) REQUIRE(blocks.Append({message.data(), size}));
  const std::vector<Block> taken = blocks.Take();
  CHECK(taken.size() > 2);
  int count = 0;
  for (const Block& block : taken) {
    CHECK(block.size <= block.capacity);
    CHECK_EQ(block.size % (size + 3), 0u);
    for (size_t at = 0; at < block.size; at += size + 3) {
      CHECK(std::memcmp(block.bytes.get() + at, message.data(), message.size()) == 0);
      ++count;
    }
  }
  CHECK_EQ(count, 100);
  CHECK_EQ(blocks.Take().size(), 0u);
}

TEST("blocks close the gap that a dropped message left") {
  BlockPool pool;
  MessageBlocks blocks(&pool);
  const ByteVector keep = Data(1, 5, Attribute(1, U32(1)));
  const ByteVector drop = Data(2, 5, Attribute(1, U32(2)));
  const ByteVector last = Data(1, 5, Attribute(1, U32(3)));
  const ByteVector datagram = Concat({drop, keep, drop, last});
  uint8_t* room = blocks.Reserve(datagram.size());
  REQUIRE(room != nullptr);
  std::memcpy(room, datagram.data(), datagram.size());
  REQUIRE(blocks.Append({room + drop.size(), keep.size()}));
  REQUIRE(blocks.Append({room + 2 * drop.size() + keep.size(), last.size()}));
  const std::vector<Block> taken = blocks.Take();
  REQUIRE(taken.size() == 1);
  const ByteVector expected = Concat({keep, last});
  REQUIRE(taken[0].size == expected.size());
  CHECK(std::memcmp(taken[0].bytes.get(), expected.data(), expected.size()) == 0);
}

TEST("blocks that were reserved and not used are not there") {
  BlockPool pool;
  MessageBlocks blocks(&pool);
  REQUIRE(blocks.Reserve(32768) != nullptr);
  CHECK_EQ(blocks.Take().size(), 0u);
}

TEST("blocks that were given back are taken again, the last one first") {
  BlockPool pool;
  Block small = pool.Take(100);
  Block large = pool.Take(200);
  uint8_t* const small_bytes = small.bytes.get();
  uint8_t* const large_bytes = large.bytes.get();
  large.size = 50;
  pool.Put(std::move(large));
  pool.Put(std::move(small));
  Block again = pool.Take(150);
  CHECK(again.bytes.get() == large_bytes);
  CHECK_EQ(again.size, 0u);
  CHECK(again.capacity >= 150);
  CHECK(pool.Take(100).bytes.get() == small_bytes);
}

TEST("what a pool has is bounded") {
  BlockPool pool;
  constexpr size_t kBytes = 1 << 20;
  std::vector<Block> blocks;
  for (int i = 0; i < 32; ++i) blocks.push_back(pool.Take(kBytes));
  for (Block& block : blocks) pool.Put(std::move(block));
  // Those that it kept come first, and have more room than what is asked for.
  std::vector<Block> taken;
  do {
    taken.push_back(pool.Take(kBytes / 2));
  } while (taken.back().capacity == kBytes);
  CHECK_EQ(taken.size() - 1, 8u);
}

TEST("blocks that nobody took go back to their pool") {
  BlockPool pool;
  uint8_t* bytes;
  {
    MessageBlocks blocks(&pool);
    bytes = blocks.Reserve(100);
  }
  MessageBlocks blocks(&pool);
  CHECK(blocks.Reserve(100) == bytes);
}

TEST("requests are found where the layout is right, and only there") {
  const ByteVector bytes = Concat({U32(9), {1, 1, 0, 0, 7}, {0, 0, 0}, U32(8), {2, 1, 0, 0}});
  std::vector<Bytes> requests;
  REQUIRE(ParseRequests(View(bytes), 2, &requests));
  CHECK_EQ(requests[0].size, 5u);
  CHECK_EQ(int{requests[1].data[0]}, 2);
  CHECK(!ParseRequests(View(bytes), 1, &requests));
  CHECK(!ParseRequests(View(bytes), 3, &requests));
  CHECK(!ParseRequests(View(bytes), SIZE_MAX, &requests));
  CHECK(ParseRequests({}, 0, &requests));
  CHECK(!ParseRequests({}, 1, &requests));
  CHECK(!ParseRequests(View(bytes), 0, &requests));
  for (size_t size = 0; size < bytes.size(); ++size) {
    const ExactBytes cut(bytes, size);
    CHECK(!ParseRequests(cut.view(), 2, &requests));
  }
  for (const uint32_t length : {0u, 4u, 7u, 21u, 0xffffffffu}) {
    ByteVector bad = bytes;
    std::memcpy(&bad[12], &length, sizeof(length));
    CHECK(!ParseRequests(View(bad), 2, &requests));
  }
}

}  // namespace
}  // namespace ipvs::test
