#ifndef IPVS_NATIVE_MESSAGE_BLOCKS_H_
#define IPVS_NATIVE_MESSAGE_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "message.h"

namespace ipvs {

struct FreeBytes {
  void operator()(uint8_t* bytes) const { std::free(bytes); }
};

// From malloc().
using MallocBytes = std::unique_ptr<uint8_t, FreeBytes>;

struct Block {
  MallocBytes bytes;
  size_t size = 0;
  size_t capacity = 0;
};

// Blocks that have been read, kept for the next dump: getting new memory from the
// kernel takes longer than writing to it. Any thread may use it.
class BlockPool {
 public:
  // Empty, with room for at least `capacity` bytes; no bytes: out of memory.
  Block Take(size_t capacity);
  void Put(Block block);

 private:
  std::mutex mutex_;
  std::vector<Block> blocks_;
  size_t bytes_ = 0;
};

// Collects netlink messages, each at a multiple of 4 and none across blocks.
// Datagrams can be received straight into it, so that most bytes of a dump are
// written once.
class MessageBlocks {
 public:
  // The pool must outlive it, and gets the blocks that Take() has not taken.
  explicit MessageBlocks(BlockPool* pool) : pool_(pool) {}
  ~MessageBlocks() { Clear(); }
  MessageBlocks(const MessageBlocks&) = delete;
  MessageBlocks& operator=(const MessageBlocks&) = delete;

  // Room to write at least `size` bytes. They do not count until Append() takes
  // the messages in them, one by one and in order. nullptr: out of memory.
  uint8_t* Reserve(size_t size);

  // Takes one message, from the room of Reserve() or from anywhere else. False:
  // out of memory.
  bool Append(Bytes message);

  std::vector<Block> Take();
  void Clear();

  const std::vector<Block>& blocks() const { return blocks_; }

 private:
  BlockPool* pool_;
  std::vector<Block> blocks_;
};

}  // namespace ipvs

#endif  // IPVS_NATIVE_MESSAGE_BLOCKS_H_
