#ifndef IPVS_NATIVE_GENL_SOCKET_H_
#define IPVS_NATIVE_GENL_SOCKET_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "message.h"
#include "message_blocks.h"
#include "netlink_socket.h"
#include "status.h"
#include "unique_fd.h"

namespace ipvs {

// The outcome of a request that was not simply done.
struct Outcome {
  std::optional<Failure> failure;
  // The replies, each a whole netlink message at a multiple of 4.
  std::vector<uint8_t> data;
};

struct BatchResult {
  // The call ended early. Requests that were not sent then have ECANCELED, and
  // those that were sent but not answered have this failure.
  std::optional<Failure> failure;
  // One for each request, in order. nullptr: done, nothing sent back.
  std::vector<std::unique_ptr<Outcome>> outcomes;
};

struct DumpResult {
  // With a failure there are no messages.
  std::optional<Failure> failure;
  std::vector<Block> messages;
  // Takes them back once they have been read.
  std::shared_ptr<BlockPool> pool;
  // The kernel set NLM_F_DUMP_INTR on one of them.
  bool interrupted = false;
};

// Finds the payloads (genlmsghdr and attributes) of `count` requests in bytes
// laid out as lib/transport/addon.ts says. False if they are laid out otherwise.
// The payloads point into `bytes`.
bool ParseRequests(Bytes bytes, size_t count, std::vector<Bytes>* requests);

// A generic netlink socket for one family. Not for two threads at a time. Knows
// nothing about what the family does.
class GenlSocket {
 public:
  struct Options {
    std::string family;
    // Path of a network namespace. Empty: that of the process.
    std::string netns;
    // In a new network namespace instead.
    bool scratch = false;
    // How long one wait for a reply may take.
    int timeout_ms = 0;
    NetlinkSocket::Options netlink;
  };

  // Opens a socket and resolves the family.
  static Result<std::unique_ptr<GenlSocket>> Open(const Options& options);

  // Uses an open socket. The family is not resolved yet.
  GenlSocket(NetlinkSocket socket, std::string family, int timeout_ms);

  // Asks for the family's id. ENOENT of kFamilyOperation: there is no such
  // family. The kernel tries to load a module for a name that it does not know.
  Status ResolveFamily();

  // Requests in order, each of which may succeed or fail on its own.
  BatchResult Batch(const std::vector<Bytes>& requests);

  // One request, many messages.
  DumpResult Dump(Bytes request);

  // The dump `outer`; then, for each of its messages, a dump of
  // `inner_command` whose only attribute is the message's top-level `attribute`
  // as it came. Without the attribute: no inner dump. The outer dump is read to
  // its end first, since a socket runs one dump at a time. The first inner dump
  // that fails ends the call.
  DumpResult DumpOfDumps(Bytes outer, uint8_t inner_command, uint16_t attribute);

  // The namespace of the socket. No file: that of the process.
  const std::shared_ptr<const UniqueFd>& netns() const { return netns_; }

  // Reads files of at most `max_bytes` each, or writes one, in the socket's
  // network namespace: see netns.h.
  std::vector<Result<std::vector<uint8_t>>> ReadFiles(const std::vector<std::string>& paths,
                                                      size_t max_bytes) const;
  Status WriteFile(const std::string& path, const std::string& content) const;

  // For tests: most requests in one send, even if the buffers hold more.
  void set_max_requests_per_send(size_t count) { max_requests_per_send_ = count; }
  // For tests: the number of the next request.
  void set_next_sequence(uint32_t sequence) { next_sequence_ = sequence; }
  uint16_t family_id() const { return family_id_; }

 private:
  // A part of a batch that goes out in one send.
  struct Window;

  enum class FamilyChange { kNone, kNewId, kGone };

  // Starts over after four billion requests: no reply to the first of them can
  // still be queued then.
  uint32_t TakeSequence() { return next_sequence_++; }

  // After an ENOENT. The kernel also answers that if no family has the id, for
  // example because its module was unloaded. `gone` says so.
  FamilyChange RefreshFamily(Failure* gone);
  // Reads and drops what an earlier call left behind.
  void DrainLeftovers();
  bool ReserveReceiveRoom();
  Result<size_t> ReceiveReplies(bool wait, Deadline* deadline);

  // Sends the requests that `order` names and fills their outcomes.
  Status RunBatch(const std::vector<Bytes>& requests, const std::vector<size_t>& order,
                  uint16_t type, BatchResult* result);
  Status ReadWindow(Window* window, BatchResult* result);
  Status ReadWindowReplies(Window* window, BatchResult* result);
  // One reply to the request at `index` of the window. True: the last of them.
  Result<bool> ReadReply(MessageReader::Step step, const Message& message, size_t index,
                         Window* window, BatchResult* result);

  Status RunDump(Bytes payload, MessageBlocks* blocks, bool* interrupted);
  Status RunDumpOfDumps(Bytes outer, uint8_t inner_command, uint16_t attribute,
                        MessageBlocks* blocks, bool* interrupted);
  Status ReadDump(uint32_t sequence, MessageBlocks* blocks, bool* interrupted);
  // One message of a dump. True: its end.
  Result<bool> ReadDumped(MessageReader::Step step, const Message& message, MessageBlocks* blocks,
                          bool* interrupted);
  template <typename Run>
  DumpResult DumpWithRetry(Run run);

  NetlinkSocket socket_;
  // Shared with the files that were opened in it, which may outlive the socket.
  std::shared_ptr<const UniqueFd> netns_ = std::make_shared<UniqueFd>();
  std::string family_;
  int timeout_ms_;
  uint16_t family_id_ = 0;
  uint32_t next_sequence_ = 1;
  size_t max_requests_per_send_;
  // A call ended with replies still to come: its dump may go on, and until that
  // is read the kernel answers EBUSY to another.
  bool leftovers_ = false;
  // Reused from send to send.
  std::vector<uint8_t> send_buffer_;
  // Reused from dump to dump. Its blocks may outlive the socket in JavaScript.
  const std::shared_ptr<BlockPool> pool_ = std::make_shared<BlockPool>();
  // Room for NetlinkSocket::kMaxDatagrams datagrams. Most of its pages are
  // never touched.
  MallocBytes receive_room_;
  Datagram received_[NetlinkSocket::kMaxDatagrams];
};

}  // namespace ipvs

#endif  // IPVS_NATIVE_GENL_SOCKET_H_
