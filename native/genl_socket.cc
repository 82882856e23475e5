#include "genl_socket.h"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "netns.h"

namespace ipvs {
namespace {

// The kernel makes a dump's datagrams as long as the longest buffer that the
// socket ever received into, and no longer than this (netlink_recvmsg() and
// netlink_dump()). The reply to a single request is at most a page or 8 KiB
// (NLMSG_GOODSIZE).
constexpr size_t kDatagramBytes = 32 << 10;

// Room that a reply can take in the receive buffer. An error takes 768 to 1280
// bytes with the kernel's overhead, a reply with data up to 8 KiB and overhead.
constexpr size_t kReplyCost = 9 << 10;

// Two, so that the data of a small dump and its NLMSG_DONE come in one system
// call: the kernel makes the second while it hands out the first.
constexpr size_t kDumpDatagrams = 2;

constexpr uint8_t kInnerVersion = 1;

Failure OutOfMemory() { return Failure{ENOMEM, "malloc", {}}; }

Failure Malformed() { return Failure{EBADMSG, "recvmmsg", {}}; }

Outcome& OutcomeAt(BatchResult* result, size_t index) {
  std::unique_ptr<Outcome>& outcome = result->outcomes[index];
  if (!outcome) outcome = std::make_unique<Outcome>();
  return *outcome;
}

void AppendData(std::vector<uint8_t>* data, Bytes message) {
  const size_t begin = data->size();
  data->resize(begin + NLMSG_ALIGN(message.size));
  std::memcpy(data->data() + begin, message.data, message.size);
}

// Goes over the datagrams of a receive, for `count` requests with the sequence
// numbers from `first_sequence` on: calls `read(step, message, index)` for each
// message that answers the request at `index`, until that reports the last one or
// fails. Skips messages that are not ours; they do not move the deadline.
template <typename Read>
Result<bool> ReadReplies(const Datagram* datagrams, size_t datagram_count, uint32_t first_sequence,
                         size_t count, Deadline* deadline, Read read) {
  bool progress = false;
  for (size_t i = 0; i < datagram_count; ++i) {
    Message message;
    MessageReader::Step step;
    MessageReader reader(datagrams[i].bytes(), datagrams[i].truncated);
    while ((step = reader.Next(&message)) != MessageReader::Step::kEnd) {
      if (step == MessageReader::Step::kMalformed) return Malformed();
      const uint32_t index = message.header.nlmsg_seq - first_sequence;
      if (index >= count) continue;
      progress = true;
      Result<bool> last = read(step, message, index);
      if (!last.ok() || last.value()) return last;
    }
  }
  if (progress) {
    deadline->Restart();
  } else if (deadline->RemainingMs() == 0) {
    return Failure{ETIMEDOUT, "recvmmsg", {}};
  }
  return false;
}

// In the namespace of the calling thread, which needs no file to go back to.
Result<SocketInNamespace> OpenHere() {
  Result<UniqueFd> socket = OpenGenericNetlink();
  if (!socket.ok()) return socket.TakeFailure();
  return SocketInNamespace{std::move(socket.value()), UniqueFd()};
}

}  // namespace

struct GenlSocket::Window {
  // Indices of the requests, `count` of them.
  const size_t* order;
  size_t count;
  // Sequence number of the first; the others follow. The NOOP at the end of the
  // send has that of the last.
  uint32_t first_sequence;
  // The ones that got a reply.
  std::vector<bool> answered = {};
  // Replies were lost.
  bool overrun = false;
};

bool ParseRequests(Bytes bytes, size_t count, std::vector<Bytes>* requests) {
  requests->clear();
  // A request is no shorter than its length and its genlmsghdr, so that a wrong
  // count cannot ask for more memory than the bytes are worth.
  constexpr size_t kLengthBytes = sizeof(uint32_t);
  if (count > bytes.size / (kLengthBytes + GENL_HDRLEN)) return false;
  requests->reserve(count);
  size_t offset = 0;
  while (requests->size() < count) {
    if (offset >= bytes.size || bytes.size - offset < kLengthBytes + GENL_HDRLEN) return false;
    uint32_t length;
    std::memcpy(&length, bytes.data + offset, sizeof(length));
    if (length < kLengthBytes + GENL_HDRLEN || length > bytes.size - offset) return false;
    requests->push_back({bytes.data + offset + kLengthBytes, length - kLengthBytes});
    offset += NLMSG_ALIGN(static_cast<size_t>(length));
  }
  return offset >= bytes.size;
}

Result<std::unique_ptr<GenlSocket>> GenlSocket::Open(const Options& options) {
  Result<SocketInNamespace> opened = options.scratch         ? OpenInScratchNamespace()
                                     : options.netns.empty() ? OpenHere()
                                                             : OpenInNamespace(options.netns);
  if (!opened.ok()) return opened.TakeFailure();
  Result<NetlinkSocket> socket =
      NetlinkSocket::Configure(std::move(opened.value().socket), options.netlink);
  if (!socket.ok()) return socket.TakeFailure();
  auto genl = std::make_unique<GenlSocket>(std::move(socket.value()), options.family,
                                           options.timeout_ms);
  genl->netns_ = std::make_shared<const UniqueFd>(std::move(opened.value().netns));
  Status status = genl->ResolveFamily();
  if (!status.ok()) return status.TakeFailure();
  return genl;
}

GenlSocket::GenlSocket(NetlinkSocket socket, std::string family, int timeout_ms)
    : socket_(std::move(socket)),
      family_(std::move(family)),
      timeout_ms_(timeout_ms),
      max_requests_per_send_(std::max<size_t>(2, socket_.receive_buffer_bytes() / kReplyCost) - 1) {}

bool GenlSocket::ReserveReceiveRoom() {
  if (receive_room_) return true;
  receive_room_.reset(
      static_cast<uint8_t*>(std::malloc(NetlinkSocket::kMaxDatagrams * kDatagramBytes)));
  if (!receive_room_) return false;
  for (size_t i = 0; i < NetlinkSocket::kMaxDatagrams; ++i) {
    received_[i].data = receive_room_.get() + i * kDatagramBytes;
    received_[i].capacity = kDatagramBytes;
  }
  return true;
}

Result<size_t> GenlSocket::ReceiveReplies(bool wait, Deadline* deadline) {
  if (!ReserveReceiveRoom()) return OutOfMemory();
  if (!wait) return socket_.ReceiveNow(received_, NetlinkSocket::kMaxDatagrams);
  return socket_.Receive(received_, NetlinkSocket::kMaxDatagrams, deadline);
}

// Nothing queued means that no dump runs: the kernel makes a dump's next
// datagram inside the receive that empties the queue. If that does not happen in
// time, the next call goes on with it.
void GenlSocket::DrainLeftovers() {
  Deadline deadline(timeout_ms_);
  do {
    const Result<size_t> received = ReceiveReplies(false, &deadline);
    if (received.ok() || received.failure().error == ENOBUFS) continue;
    leftovers_ = received.failure().error != EAGAIN;
    return;
  } while (deadline.RemainingMs() > 0);
}

std::vector<Result<std::vector<uint8_t>>> GenlSocket::ReadFiles(
    const std::vector<std::string>& paths, size_t max_bytes) const {
  return ipvs::ReadFiles(paths, *netns_, max_bytes);
}

Status GenlSocket::WriteFile(const std::string& path, const std::string& content) const {
  return ipvs::WriteFile(path, *netns_, content);
}

Status GenlSocket::ResolveFamily() {
  const std::vector<uint8_t> name = MakeAttribute(
      CTRL_ATTR_FAMILY_NAME,
      {reinterpret_cast<const uint8_t*>(family_.c_str()), family_.size() + 1});
  const std::vector<uint8_t> payload =
      MakePayload(CTRL_CMD_GETFAMILY, 1, {name.data(), name.size()});
  BatchResult result;
  result.outcomes.resize(1);
  Status status = RunBatch({{payload.data(), payload.size()}}, {0}, GENL_ID_CTRL, &result);
  if (!status.ok()) return status;
  Outcome& outcome = OutcomeAt(&result, 0);
  if (outcome.failure) {
    if (outcome.failure->operation == kReplyOperation) {
      outcome.failure->operation = kFamilyOperation;
    }
    return std::move(*outcome.failure);
  }

  Message message;
  MessageReader reader({outcome.data.data(), outcome.data.size()});
  if (reader.Next(&message) == MessageReader::Step::kMessage) {
    const Bytes attribute = FindAttribute(message.payload, CTRL_ATTR_FAMILY_ID);
    uint16_t id;
    if (attribute.size >= NLA_HDRLEN + sizeof(id)) {
      std::memcpy(&id, AttributePayload(attribute).data, sizeof(id));
      family_id_ = id;
      return {};
    }
  }
  return Failure{EBADMSG, kFamilyOperation, {}};
}

GenlSocket::FamilyChange GenlSocket::RefreshFamily(Failure* gone) {
  const uint16_t before = family_id_;
  Status status = ResolveFamily();
  if (status.ok()) return family_id_ == before ? FamilyChange::kNone : FamilyChange::kNewId;
  // If even this is not known, the kernel's earlier answer still holds.
  if (status.failure().error != ENOENT) return FamilyChange::kNone;
  *gone = status.TakeFailure();
  return FamilyChange::kGone;
}

BatchResult GenlSocket::Batch(const std::vector<Bytes>& requests) {
  BatchResult result;
  result.outcomes.resize(requests.size());
  std::vector<size_t> order(requests.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  Status status = RunBatch(requests, order, family_id_, &result);

  if (status.ok()) {
    order.clear();
    for (size_t i = 0; i < requests.size(); ++i) {
      const Outcome* outcome = result.outcomes[i].get();
      if (outcome != nullptr && outcome->failure && outcome->failure->IsReply(ENOENT)) {
        order.push_back(i);
      }
    }
    if (!order.empty()) {
      Failure gone;
      switch (RefreshFamily(&gone)) {
        case FamilyChange::kNone:
          break;
        case FamilyChange::kGone:
          for (const size_t index : order) OutcomeAt(&result, index).failure = gone;
          break;
        case FamilyChange::kNewId:
          for (const size_t index : order) result.outcomes[index].reset();
          status = RunBatch(requests, order, family_id_, &result);
          break;
      }
    }
  }

  if (!status.ok()) result.failure = status.TakeFailure();
  return result;
}

Status GenlSocket::RunBatch(const std::vector<Bytes>& requests, const std::vector<size_t>& order,
                            uint16_t type, BatchResult* result) {
  if (leftovers_) DrainLeftovers();
  size_t total = 0;
  for (const size_t index : order) total += MessageSpace(requests[index].size);
  send_buffer_.reserve(std::min(total, socket_.max_send_bytes()));
  size_t next = 0;
  while (next < order.size()) {
    Window window = {&order[next], 0, next_sequence_};
    send_buffer_.clear();
    while (next < order.size() && window.count < max_requests_per_send_) {
      const Bytes& request = requests[order[next]];
      const size_t space = MessageSpace(request.size) + MessageSpace(0);
      if (send_buffer_.size() + space > socket_.max_send_bytes()) break;
      AppendMessage(&send_buffer_, type, NLM_F_REQUEST, TakeSequence(), request);
      ++window.count;
      ++next;
    }
    if (window.count == 0) {
      OutcomeAt(result, order[next]).failure = Failure{EMSGSIZE, "sendmsg", {}};
      ++next;
      continue;
    }
    // The one ACK of the send. Not asked of the last request: the kernel sends
    // no reply at all for a request that ends with EINTR inside the kernel
    // (netlink_rcv_skb()), as stopping a sync daemon does whose thread has not
    // run yet. A NOOP does nothing and is always acknowledged.
    AppendMessage(&send_buffer_, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, next_sequence_ - 1, {});

    Status status = socket_.Send({send_buffer_.data(), send_buffer_.size()});
    if (status.ok()) {
      status = ReadWindow(&window, result);
    } else {
      for (size_t i = 0; i < window.count; ++i) {
        OutcomeAt(result, window.order[i]).failure = status.failure();
      }
    }
    if (!status.ok()) {
      for (; next < order.size(); ++next) {
        OutcomeAt(result, order[next]).failure = Failure{ECANCELED, "sendmsg", {}};
      }
      return status;
    }
  }
  return {};
}

Status GenlSocket::ReadWindow(Window* window, BatchResult* result) {
  window->answered.resize(window->count);
  Status status = ReadWindowReplies(window, result);
  if (!status.ok()) leftovers_ = true;
  if (status.ok() && !window->overrun) return status;

  // Without a reply a request was done, unless replies are missing.
  const Failure failure = status.ok() ? Failure{ENOBUFS, "recvmmsg", {}} : status.failure();
  for (size_t i = 0; i < window->count; ++i) {
    if (!window->answered[i]) OutcomeAt(result, window->order[i]).failure = failure;
  }
  return status;
}

Status GenlSocket::ReadWindowReplies(Window* window, BatchResult* result) {
  Deadline deadline(timeout_ms_);
  for (;;) {
    // After an overrun nothing more will come: the requests were run inside
    // sendmsg, and what the kernel could not queue is lost.
    const Result<size_t> received = ReceiveReplies(!window->overrun, &deadline);
    if (!received.ok()) {
      const int error = received.failure().error;
      if (window->overrun && error == EAGAIN) return {};
      if (error != ENOBUFS) return received.failure();
      window->overrun = true;
    }
    Result<bool> last = ReadReplies(
        received_, received.ok() ? received.value() : 0, window->first_sequence, window->count,
        &deadline, [&](MessageReader::Step step, const Message& message, size_t index) {
          return ReadReply(step, message, index, window, result);
        });
    if (!last.ok()) return last.TakeFailure();
    if (last.value()) return {};
  }
}

Result<bool> GenlSocket::ReadReply(MessageReader::Step step, const Message& message, size_t index,
                                   Window* window, BatchResult* result) {
  if (step == MessageReader::Step::kTruncated) {
    window->answered[index] = true;
    OutcomeAt(result, window->order[index]).failure = Failure{EMSGSIZE, "recvmmsg", {}};
    return false;
  }
  if (message.IsData()) {
    window->answered[index] = true;
    AppendData(&OutcomeAt(result, window->order[index]).data, message.bytes);
    return false;
  }
  if (message.header.nlmsg_type != NLMSG_ERROR) return false;
  Ending ending;
  if (!ReadEnding(message, &ending)) return Malformed();
  // The NOOP's ACK: requests without a reply by now were done.
  if (ending.error == 0 && index == window->count - 1) return true;
  window->answered[index] = true;
  if (ending.error != 0) {
    OutcomeAt(result, window->order[index]).failure =
        Failure{ending.error, kReplyOperation, std::move(ending.text)};
  }
  return false;
}

DumpResult GenlSocket::Dump(Bytes request) {
  return DumpWithRetry([&](MessageBlocks* blocks, bool* interrupted) {
    return RunDump(request, blocks, interrupted);
  });
}

DumpResult GenlSocket::DumpOfDumps(Bytes outer, uint8_t inner_command, uint16_t attribute) {
  return DumpWithRetry([&](MessageBlocks* blocks, bool* interrupted) {
    return RunDumpOfDumps(outer, inner_command, attribute, blocks, interrupted);
  });
}

template <typename Run>
DumpResult GenlSocket::DumpWithRetry(Run run) {
  DumpResult result;
  MessageBlocks blocks(pool_.get());
  Status status = run(&blocks, &result.interrupted);
  if (!status.ok() && status.failure().IsReply(ENOENT)) {
    Failure gone;
    switch (RefreshFamily(&gone)) {
      case FamilyChange::kNone:
        break;
      case FamilyChange::kGone:
        status = std::move(gone);
        break;
      case FamilyChange::kNewId:
        blocks.Clear();
        result.interrupted = false;
        status = run(&blocks, &result.interrupted);
        break;
    }
  }
  if (status.ok()) {
    result.messages = blocks.Take();
    result.pool = pool_;
  } else {
    result.failure = status.TakeFailure();
  }
  return result;
}

Status GenlSocket::RunDumpOfDumps(Bytes outer, uint8_t inner_command, uint16_t attribute,
                                  MessageBlocks* blocks, bool* interrupted) {
  MessageBlocks outer_blocks(pool_.get());
  Status status = RunDump(outer, &outer_blocks, interrupted);
  if (!status.ok()) return status;
  for (const Block& block : outer_blocks.blocks()) {
    Message message;
    MessageReader reader({block.bytes.get(), block.size});
    while (reader.Next(&message) == MessageReader::Step::kMessage) {
      if (!blocks->Append(message.bytes)) return OutOfMemory();
      const Bytes echoed = FindAttribute(message.payload, attribute);
      if (echoed.size == 0) continue;
      const std::vector<uint8_t> inner = MakePayload(inner_command, kInnerVersion, echoed);
      status = RunDump({inner.data(), inner.size()}, blocks, interrupted);
      if (!status.ok()) return status;
    }
  }
  return {};
}

Status GenlSocket::RunDump(Bytes payload, MessageBlocks* blocks, bool* interrupted) {
  if (leftovers_) DrainLeftovers();
  if (MessageSpace(payload.size) > socket_.max_send_bytes()) {
    return Failure{EMSGSIZE, "sendmsg", {}};
  }
  const uint32_t sequence = TakeSequence();
  send_buffer_.clear();
  AppendMessage(&send_buffer_, family_id_, NLM_F_REQUEST | NLM_F_DUMP, sequence, payload);
  Status status = socket_.Send({send_buffer_.data(), send_buffer_.size()});
  if (!status.ok()) return status;
  return ReadDump(sequence, blocks, interrupted);
}

Status GenlSocket::ReadDump(uint32_t sequence, MessageBlocks* blocks, bool* interrupted) {
  if (!ReserveReceiveRoom()) return OutOfMemory();
  // Until the end was seen.
  leftovers_ = true;
  Deadline deadline(timeout_ms_);
  for (;;) {
    // The first goes straight to its final place. The second has a room of its
    // own: its place depends on the length of the first.
    Datagram datagrams[kDumpDatagrams] = {{}, received_[0]};
    datagrams[0].data = blocks->Reserve(kDatagramBytes);
    datagrams[0].capacity = kDatagramBytes;
    if (datagrams[0].data == nullptr) return OutOfMemory();
    const Result<size_t> received = socket_.Receive(datagrams, kDumpDatagrams, &deadline);
    if (!received.ok()) return received.failure();

    Result<bool> last =
        ReadReplies(datagrams, received.value(), sequence, 1, &deadline,
                    [&](MessageReader::Step step, const Message& message, size_t) {
                      return ReadDumped(step, message, blocks, interrupted);
                    });
    if (!last.ok()) return last.TakeFailure();
    if (last.value()) return {};
  }
}

Result<bool> GenlSocket::ReadDumped(MessageReader::Step step, const Message& message,
                                    MessageBlocks* blocks, bool* interrupted) {
  if (step == MessageReader::Step::kTruncated) return Failure{EMSGSIZE, "recvmmsg", {}};
  if (message.IsInterrupted()) *interrupted = true;
  if (message.IsData()) {
    if (!blocks->Append(message.bytes)) return OutOfMemory();
    return false;
  }
  const bool done = message.header.nlmsg_type == NLMSG_DONE;
  if (!done && message.header.nlmsg_type != NLMSG_ERROR) return false;
  Ending ending;
  if (!ReadEnding(message, &ending)) return Malformed();
  // An ACK ends nothing.
  if (!done && ending.error == 0) return false;
  // A dump that could not start ends with an error and has no DONE; EBUSY says
  // that another still runs.
  leftovers_ = !done && ending.error == EBUSY;
  if (ending.error != 0) return Failure{ending.error, kReplyOperation, std::move(ending.text)};
  return true;
}

}  // namespace ipvs
