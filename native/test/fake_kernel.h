#ifndef IPVS_NATIVE_TEST_FAKE_KERNEL_H_
#define IPVS_NATIVE_TEST_FAKE_KERNEL_H_

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "genl_socket.h"
#include "unique_fd.h"

namespace ipvs::test {

using ByteVector = std::vector<uint8_t>;

// Messages, made without anything that is under test.
ByteVector Concat(std::initializer_list<ByteVector> parts);
ByteVector RawMessage(uint16_t type, uint16_t flags, uint32_t sequence, const ByteVector& payload);
ByteVector Attribute(uint16_t type, const ByteVector& value);
ByteVector Text(const std::string& text);
ByteVector U16(uint16_t value);
ByteVector U32(uint32_t value);
// The payload of a request or reply.
ByteVector Genl(uint8_t command, const ByteVector& attributes = {});

// Replies.
constexpr uint16_t kFakeFamily = 28;
ByteVector Data(uint32_t sequence, uint8_t command, const ByteVector& attributes = {});
ByteVector DumpData(uint32_t sequence, uint8_t command, const ByteVector& attributes = {},
                    uint16_t flags = 0);
ByteVector Ack(uint32_t sequence);
ByteVector Error(uint32_t sequence, int error, const std::string& text = {});
ByteVector Done(uint32_t sequence, int error = 0, uint16_t flags = 0);
ByteVector FamilyReply(uint32_t sequence, uint16_t id);

inline Bytes View(const ByteVector& bytes) { return {bytes.data(), bytes.size()}; }
std::vector<Bytes> View(const std::vector<ByteVector>& requests);

struct SeenRequest {
  uint16_t type;
  uint16_t flags;
  uint32_t sequence;
  ByteVector payload;
};

// The other end of a GenlSocket. The first request of a test has the sequence
// number 1, the next 2.
class FakeKernel {
 public:
  // `genl` has the family kFakeFamily resolved.
  explicit FakeKernel(int timeout_ms = 2000);
  ~FakeKernel();

  GenlSocket& genl() { return *genl_; }

  // Queues a datagram now, before any request. What a call does not read stays
  // for the next.
  // False: the other side is closed.
  bool Queue(const ByteVector& datagram);

  // Queues these datagrams when the next send arrives for which nothing was
  // planned yet. From the first Plan() on a thread of the fake takes the sends.
  void Plan(const std::vector<ByteVector>& datagrams);

  // The same with one datagram again and again until the test ends.
  void PlanFlood(const ByteVector& datagram);

  // The requests of the earliest send that was not taken. Empty: there is none.
  // Without the NOOP that ends a send of a batch, which is taken aside.
  std::vector<SeenRequest> TakeSend();
  // The NOOP of the send that was taken last. All zero: it had none.
  const SeenRequest& end_of_send() const { return end_of_send_; }

 private:
  // Empty at the end of the other side.
  std::vector<SeenRequest> ReadSend(int flags);
  struct Answer {
    std::vector<ByteVector> datagrams;
    bool without_end;
  };
  void AddAnswer(Answer answer);
  void AnswerSends();

  UniqueFd fd_;
  std::unique_ptr<GenlSocket> genl_;
  SeenRequest end_of_send_ = {};
  std::thread thread_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::deque<Answer> plan_;
  std::deque<std::vector<SeenRequest>> seen_;
};

// The outcomes of a batch in short: "0" for done, an errno, or "data".
std::string Summary(const BatchResult& result);
// The payloads' command bytes of a dump, as "1 5 5 1"; or "errno operation".
std::string Summary(const DumpResult& result);

}  // namespace ipvs::test

#endif  // IPVS_NATIVE_TEST_FAKE_KERNEL_H_
