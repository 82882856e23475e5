#include "fake_kernel.h"

#include <errno.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ipvs::test {
namespace {

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::abort();
}

void Pad(ByteVector* bytes) {
  while (bytes->size() % 4 != 0) bytes->push_back(0);
}

}  // namespace

ByteVector Concat(std::initializer_list<ByteVector> parts) {
  ByteVector all;
  for (const ByteVector& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

ByteVector U16(uint16_t value) {
  ByteVector bytes(sizeof(value));
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

ByteVector U32(uint32_t value) {
  ByteVector bytes(sizeof(value));
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

ByteVector Text(const std::string& text) {
  ByteVector bytes(text.begin(), text.end());
  bytes.push_back(0);
  return bytes;
}

ByteVector RawMessage(uint16_t type, uint16_t flags, uint32_t sequence,
                      const ByteVector& payload) {
  ByteVector message = Concat({U32(static_cast<uint32_t>(16 + payload.size())), U16(type),
                               U16(flags), U32(sequence), U32(4711), payload});
  Pad(&message);
  return message;
}

ByteVector Attribute(uint16_t type, const ByteVector& value) {
  ByteVector attribute =
      Concat({U16(static_cast<uint16_t>(4 + value.size())), U16(type), value});
  Pad(&attribute);
  return attribute;
}

ByteVector Genl(uint8_t command, const ByteVector& attributes) {
  return Concat({{command, 1, 0, 0}, attributes});
}

ByteVector Data(uint32_t sequence, uint8_t command, const ByteVector& attributes) {
  return RawMessage(kFakeFamily, 0, sequence, Genl(command, attributes));
}

ByteVector DumpData(uint32_t sequence, uint8_t command, const ByteVector& attributes,
                    uint16_t flags) {
  return RawMessage(kFakeFamily, 2 | flags, sequence, Genl(command, attributes));
}

ByteVector Ack(uint32_t sequence) { return Error(sequence, 0); }

ByteVector Error(uint32_t sequence, int error, const std::string& text) {
  const ByteVector echoed = Concat({U32(36), U16(kFakeFamily), U16(5), U32(sequence), U32(0)});
  const ByteVector tlvs = text.empty() ? ByteVector() : Attribute(1, Text(text));
  return RawMessage(2, text.empty() ? 0x100 : 0x300, sequence,
                    Concat({U32(static_cast<uint32_t>(-error)), echoed, tlvs}));
}

ByteVector Done(uint32_t sequence, int error, uint16_t flags) {
  return RawMessage(3, 2 | flags, sequence, U32(static_cast<uint32_t>(-error)));
}

ByteVector FamilyReply(uint32_t sequence, uint16_t id) {
  return RawMessage(16, 0, sequence, Genl(1, Concat({Attribute(2, Text("fake")),
                                                     Attribute(1, U16(id))})));
}

std::vector<Bytes> View(const std::vector<ByteVector>& requests) {
  std::vector<Bytes> views;
  for (const ByteVector& request : requests) views.push_back(View(request));
  return views;
}

FakeKernel::FakeKernel(int timeout_ms) {
  // Keeps datagrams apart, and unlike SOCK_DGRAM lets more than ten wait.
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) Die("socketpair");
  fd_.Reset(ends[0]);
  genl_ = std::make_unique<GenlSocket>(NetlinkSocket::OverDatagrams(UniqueFd(ends[1])), "fake",
                                       timeout_ms);
  genl_->set_next_sequence(0);
  Queue(FamilyReply(0, kFakeFamily));
  Queue(Ack(0));
  if (!genl_->ResolveFamily().ok()) Die("ResolveFamily");
  TakeSend();
}

bool FakeKernel::Queue(const ByteVector& datagram) {
  if (send(fd_.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL) >= 0) return true;
  // The test has ended meanwhile.
  if (errno != EPIPE) Die("send");
  return false;
}

FakeKernel::~FakeKernel() {
  shutdown(fd_.get(), SHUT_RDWR);
  if (thread_.joinable()) thread_.join();
}

void FakeKernel::Plan(const std::vector<ByteVector>& datagrams) { AddAnswer({datagrams, false}); }

void FakeKernel::PlanFlood(const ByteVector& datagram) { AddAnswer({{datagram}, true}); }

void FakeKernel::AddAnswer(Answer answer) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    plan_.push_back(std::move(answer));
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { AnswerSends(); });
}

void FakeKernel::AnswerSends() {
  for (;;) {
    std::vector<SeenRequest> requests = ReadSend(0);
    if (requests.empty()) return;
    Answer answer = {};
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      seen_.push_back(std::move(requests));
      if (!plan_.empty()) {
        answer = std::move(plan_.front());
        plan_.pop_front();
      }
    }
    bool open = true;
    do {
      for (const ByteVector& datagram : answer.datagrams) open = Queue(datagram);
    } while (answer.without_end && open);
  }
}

std::vector<SeenRequest> FakeKernel::TakeSend() {
  std::vector<SeenRequest> requests;
  if (!thread_.joinable()) {
    requests = ReadSend(MSG_DONTWAIT);
  } else {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!seen_.empty()) {
      requests = std::move(seen_.front());
      seen_.pop_front();
    }
  }
  end_of_send_ = {};
  if (!requests.empty() && requests.back().type == 1) {
    end_of_send_ = std::move(requests.back());
    requests.pop_back();
  }
  return requests;
}

std::vector<SeenRequest> FakeKernel::ReadSend(int flags) {
  ByteVector bytes(1 << 18);
  const ssize_t size = recv(fd_.get(), bytes.data(), bytes.size(), flags);
  std::vector<SeenRequest> requests;
  if (size <= 0) return requests;
  for (size_t at = 0; at + 16 <= static_cast<size_t>(size);) {
    uint32_t length;
    SeenRequest request;
    std::memcpy(&length, &bytes[at], 4);
    std::memcpy(&request.type, &bytes[at + 4], 2);
    std::memcpy(&request.flags, &bytes[at + 6], 2);
    std::memcpy(&request.sequence, &bytes[at + 8], 4);
    if (length < 16 || at + length > static_cast<size_t>(size)) Die("malformed request");
    request.payload.assign(&bytes[at + 16], &bytes[at] + length);
    requests.push_back(request);
    at += (length + 3) / 4 * 4;
  }
  return requests;
}

std::string Summary(const BatchResult& result) {
  std::string text;
  if (result.failure) {
    text = "failed " + std::to_string(result.failure->error) + " " + result.failure->operation +
           ":";
  }
  for (const auto& outcome : result.outcomes) {
    if (!text.empty()) text += " ";
    if (!outcome) {
      text += "0";
    } else if (outcome->failure) {
      text += std::to_string(outcome->failure->error);
    } else {
      text += "data";
    }
  }
  return text;
}

std::string Summary(const DumpResult& result) {
  if (result.failure) {
    return std::to_string(result.failure->error) + " " + result.failure->operation;
  }
  std::string text;
  for (const Block& block : result.messages) {
    for (size_t at = 0; at < block.size;) {
      uint32_t length;
      std::memcpy(&length, block.bytes.get() + at, 4);
      if (!text.empty()) text += " ";
      text += std::to_string(block.bytes.get()[at + 16]);
      at += (length + 3) / 4 * 4;
    }
  }
  return text;
}

}  // namespace ipvs::test
