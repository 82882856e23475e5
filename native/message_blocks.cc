#include "message_blocks.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

namespace ipvs {
namespace {

// The first is for the many dumps that are small. Pages of a block that are never
// written to take no memory.
constexpr size_t kFirstBlockBytes = 64 << 10;
constexpr size_t kMaxBlockBytes = 1 << 20;

// A dump of some twenty thousand real servers. Blocks beyond that go back to the
// system.
constexpr size_t kMaxPooledBytes = 8 << 20;

}  // namespace

Block BlockPool::Take(size_t capacity) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto found = blocks_.rbegin(); found != blocks_.rend(); ++found) {
      if (found->capacity < capacity) continue;
      Block block = std::move(*found);
      blocks_.erase(std::next(found).base());
      bytes_ -= block.capacity;
      return block;
    }
  }
  Block block;
  block.bytes.reset(static_cast<uint8_t*>(std::malloc(capacity)));
  block.capacity = capacity;
  return block;
}

void BlockPool::Put(Block block) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (bytes_ + block.capacity > kMaxPooledBytes) return;
  block.size = 0;
  bytes_ += block.capacity;
  blocks_.push_back(std::move(block));
}

uint8_t* MessageBlocks::Reserve(size_t size) {
  if (!blocks_.empty()) {
    Block& last = blocks_.back();
    if (last.capacity - last.size >= size) return last.bytes.get() + last.size;
    // Reserved before, but nothing came.
    if (last.size == 0) {
      pool_->Put(std::move(last));
      blocks_.pop_back();
    }
  }
  size_t capacity = kFirstBlockBytes;
  if (!blocks_.empty()) capacity = std::min(blocks_.back().capacity * 4, kMaxBlockBytes);
  capacity = std::max(capacity, size);
  Block block = pool_->Take(capacity);
  if (!block.bytes) return nullptr;
  blocks_.push_back(std::move(block));
  return blocks_.back().bytes.get();
}

bool MessageBlocks::Append(Bytes message) {
  const size_t space = NLMSG_ALIGN(message.size);
  uint8_t* room = Reserve(space);
  if (room == nullptr) return false;
  // It is further on in the same room if messages before it were dropped.
  if (room != message.data) std::memmove(room, message.data, message.size);
  std::memset(room + message.size, 0, space - message.size);
  blocks_.back().size += space;
  return true;
}

std::vector<Block> MessageBlocks::Take() {
  if (!blocks_.empty() && blocks_.back().size == 0) {
    pool_->Put(std::move(blocks_.back()));
    blocks_.pop_back();
  }
  return std::exchange(blocks_, {});
}

void MessageBlocks::Clear() {
  for (Block& block : blocks_) pool_->Put(std::move(block));
  blocks_.clear();
}

}  // namespace ipvs
