#ifndef IPVS_NATIVE_MESSAGE_H_
#define IPVS_NATIVE_MESSAGE_H_

#include <linux/genetlink.h>
#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ipvs {

// Bytes that someone else owns.
struct Bytes {
  const uint8_t* data = nullptr;
  size_t size = 0;
};

// One netlink message inside a datagram. The header is a copy, since the bytes
// of a datagram need not be aligned for it.
struct Message {
  nlmsghdr header = {};
  // The whole message: header and payload, without the padding after it.
  Bytes bytes;
  Bytes payload;

  // Not one of the control messages (NOOP, ERROR, DONE, OVERRUN).
  bool IsData() const { return header.nlmsg_type >= NLMSG_MIN_TYPE; }
  bool IsInterrupted() const { return (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0; }
};

// Steps over the messages of one datagram. The messages it returns lie inside the
// datagram, whatever that contains.
class MessageReader {
 public:
  enum class Step {
    kMessage,
    kEnd,
    // The rest is not a whole message: it is shorter than a header, or its length
    // is less than a header or more than the rest.
    kMalformed,
    // The same in a truncated datagram. Only `message->header` is set, to find the
    // request it answers; all zero if that was lost too. Then kEnd.
    kTruncated,
  };

  explicit MessageReader(Bytes datagram, bool truncated = false)
      : rest_(datagram), truncated_(truncated) {}

  Step Next(Message* message);

 private:
  // The answer if the rest is not a whole message.
  Step Broken();

  Bytes rest_;
  bool truncated_;
};

// The end of a request, from NLMSG_ERROR (an ACK is an error of 0) or NLMSG_DONE.
struct Ending {
  // Positive errno, 0 for success.
  int error = 0;
  // The text of the extended ACK. Empty: none.
  std::string text;
};

// False if the message is too short for its kind, or its errno is out of range.
// Takes only NLMSG_ERROR and NLMSG_DONE.
bool ReadEnding(const Message& message, Ending* ending);

// The first top-level attribute of this type in a generic netlink message, with
// its header and without the padding after it. Empty: not there.
Bytes FindAttribute(Bytes payload, uint16_t type);

// The payload of an attribute that FindAttribute() found.
inline Bytes AttributePayload(Bytes attribute) {
  return {attribute.data + NLA_HDRLEN, attribute.size - NLA_HDRLEN};
}

// Size of a message in a buffer, with the padding to the next one.
inline size_t MessageSpace(size_t payload_size) {
  return NLMSG_ALIGN(NLMSG_HDRLEN + payload_size);
}

// Appends a message with this payload, which begins with a genlmsghdr. Its port
// id is 0: the kernel puts the socket's own into the reply.
void AppendMessage(std::vector<uint8_t>* out, uint16_t type, uint16_t flags, uint32_t sequence,
                   Bytes payload);

// The payload of a request with one attribute, or without any if `attribute` is
// empty. `attribute` has its header.
std::vector<uint8_t> MakePayload(uint8_t command, uint8_t version, Bytes attribute);

// An attribute with its header and a value.
std::vector<uint8_t> MakeAttribute(uint16_t type, Bytes value);

}  // namespace ipvs

#endif  // IPVS_NATIVE_MESSAGE_H_
