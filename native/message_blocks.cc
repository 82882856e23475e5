#include "message_blocks.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace ipvs {
namespace {

// The first is for the many dumps that are small. The pages of a block that
// nothing is written to are never there.
constexpr size_t kFirstBlockBytes = 64 << 10;
constexpr size_t kMaxBlockBytes = 1 << 20;

}  // namespace

uint8_t* MessageBlocks::Reserve(size_t size) {
  if (!blocks_.empty()) {
    Block& last = blocks_.back();
    if (last.capacity - last.size >= size) return last.bytes.get() + last.size;
    // Reserved before, but nothing came.
    if (last.size == 0) blocks_.pop_back();
  }
  size_t capacity = kFirstBlockBytes;
  if (!blocks_.empty()) capacity = std::min(blocks_.back().capacity * 4, kMaxBlockBytes);
  capacity = std::max(capacity, size);
  Block block;
  block.bytes.reset(static_cast<uint8_t*>(std::malloc(capacity)));
  block.capacity = capacity;
  if (!block.bytes) return nullptr;
  blocks_.push_back(std::move(block));
  return blocks_.back().bytes.get();
}

bool MessageBlocks::Append(Bytes message) {
  const size_t space = NLMSG_ALIGN(message.size);
  uint8_t* room = Reserve(space);
  if (room == nullptr) return false;
  // It lies further on in the same room when messages before it were dropped.
  if (room != message.data) std::memmove(room, message.data, message.size);
  std::memset(room + message.size, 0, space - message.size);
  blocks_.back().size += space;
  return true;
}

std::vector<Block> MessageBlocks::Take() {
  while (!blocks_.empty() && blocks_.back().size == 0) blocks_.pop_back();
  return std::exchange(blocks_, {});
}

}  // namespace ipvs
