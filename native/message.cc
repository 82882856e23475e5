#include "message.h"

#include <climits>
#include <cstring>

// Linux 4.12. Headers that have NLM_F_ACK_TLVS have the attribute too.
#ifndef NLM_F_CAPPED
#define NLM_F_CAPPED 0x100
#endif
#ifndef NLM_F_ACK_TLVS
#define NLM_F_ACK_TLVS 0x200
#endif

namespace ipvs {
namespace {

constexpr uint16_t kExtendedAckText = 1;  // NLMSGERR_ATTR_MSG

// `size` may be up to 3 bytes more than what is left, for padding that the
// sender left out at the very end.
Bytes Skip(Bytes bytes, size_t size) {
  if (size >= bytes.size) return {};
  return {bytes.data + size, bytes.size - size};
}

Bytes FindInAttributes(Bytes rest, uint16_t type) {
  while (rest.size >= NLA_HDRLEN) {
    nlattr header;
    std::memcpy(&header, rest.data, sizeof(header));
    if (header.nla_len < NLA_HDRLEN || header.nla_len > rest.size) break;
    if ((header.nla_type & NLA_TYPE_MASK) == type) return {rest.data, header.nla_len};
    rest = Skip(rest, NLA_ALIGN(header.nla_len));
  }
  return {};
}

}  // namespace

MessageReader::Step MessageReader::Next(Message* message) {
  *message = Message();
  if (rest_.size == 0) return Step::kEnd;
  if (rest_.size < sizeof(nlmsghdr)) return Broken();
  std::memcpy(&message->header, rest_.data, sizeof(nlmsghdr));
  const size_t length = message->header.nlmsg_len;
  if (length < sizeof(nlmsghdr) || length > rest_.size) return Broken();
  message->bytes = {rest_.data, length};
  message->payload = {rest_.data + NLMSG_HDRLEN, length - NLMSG_HDRLEN};
  rest_ = Skip(rest_, NLMSG_ALIGN(length));
  return Step::kMessage;
}

MessageReader::Step MessageReader::Broken() {
  if (!truncated_) return Step::kMalformed;
  rest_ = {};
  return Step::kTruncated;
}

bool ReadEnding(const Message& message, Ending* ending) {
  *ending = Ending();
  Bytes rest = message.payload;
  int32_t error;
  if (rest.size < sizeof(error)) return false;
  std::memcpy(&error, rest.data, sizeof(error));
  if (error > 0 || error == INT_MIN) return false;
  ending->error = -error;
  rest = Skip(rest, sizeof(error));

  if (message.header.nlmsg_type == NLMSG_ERROR) {
    // The header of the request, then the rest of the request unless capped.
    nlmsghdr request;
    if (rest.size < sizeof(request)) return false;
    std::memcpy(&request, rest.data, sizeof(request));
    size_t echoed = sizeof(request);
    if ((message.header.nlmsg_flags & NLM_F_CAPPED) == 0 && request.nlmsg_len > echoed) {
      echoed = request.nlmsg_len;
    }
    rest = echoed < rest.size ? Skip(rest, NLMSG_ALIGN(echoed)) : Bytes();
  }

  if ((message.header.nlmsg_flags & NLM_F_ACK_TLVS) != 0) {
    const Bytes text = FindInAttributes(rest, kExtendedAckText);
    if (text.size > NLA_HDRLEN) {
      const Bytes value = AttributePayload(text);
      const char* begin = reinterpret_cast<const char*>(value.data);
      ending->text.assign(begin, strnlen(begin, value.size));
    }
  }
  return true;
}

Bytes FindAttribute(Bytes payload, uint16_t type) {
  return FindInAttributes(Skip(payload, GENL_HDRLEN), type);
}

void AppendMessage(std::vector<uint8_t>* out, uint16_t type, uint16_t flags, uint32_t sequence,
                   Bytes payload) {
  nlmsghdr header = {};
  header.nlmsg_len = static_cast<uint32_t>(NLMSG_HDRLEN + payload.size);
  header.nlmsg_type = type;
  header.nlmsg_flags = flags;
  header.nlmsg_seq = sequence;
  const size_t begin = out->size();
  out->resize(begin + MessageSpace(payload.size));
  std::memcpy(out->data() + begin, &header, sizeof(header));
  // memcpy wants pointers even for nothing.
  if (payload.size != 0) std::memcpy(out->data() + begin + NLMSG_HDRLEN, payload.data, payload.size);
}

std::vector<uint8_t> MakePayload(uint8_t command, uint8_t version, Bytes attribute) {
  genlmsghdr header = {};
  header.cmd = command;
  header.version = version;
  std::vector<uint8_t> payload(GENL_HDRLEN + NLA_ALIGN(attribute.size));
  std::memcpy(payload.data(), &header, sizeof(header));
  if (attribute.size != 0) {
    std::memcpy(payload.data() + GENL_HDRLEN, attribute.data, attribute.size);
  }
  return payload;
}

std::vector<uint8_t> MakeAttribute(uint16_t type, Bytes value) {
  nlattr header = {};
  header.nla_len = static_cast<uint16_t>(NLA_HDRLEN + value.size);
  header.nla_type = type;
  std::vector<uint8_t> attribute(header.nla_len);
  std::memcpy(attribute.data(), &header, sizeof(header));
  if (value.size != 0) std::memcpy(attribute.data() + NLA_HDRLEN, value.data, value.size);
  return attribute;
}

}  // namespace ipvs
