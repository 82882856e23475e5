#ifndef IPVS_NATIVE_MESSAGE_BLOCKS_H_
#define IPVS_NATIVE_MESSAGE_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "message.h"

namespace ipvs {

struct FreeBytes {
  void operator()(uint8_t* bytes) const { std::free(bytes); }
};

// From malloc(): an owner in JavaScript ends it with free().
using MallocBytes = std::unique_ptr<uint8_t, FreeBytes>;

struct Block {
  MallocBytes bytes;
  size_t size = 0;
  size_t capacity = 0;
};

// Collects netlink messages, each at a multiple of 4 and none across blocks.
// Datagrams can be received straight into it, so that most bytes of a dump are
// written once.
class MessageBlocks {
 public:
  // Where at least `size` bytes can be written. They belong to nobody until
  // Append() takes the messages in them, one by one and in order. nullptr: out
  // of memory.
  uint8_t* Reserve(size_t size);

  // Takes one message, from what Reserve() gave or from anywhere else. False:
  // out of memory.
  bool Append(Bytes message);

  std::vector<Block> Take();

  const std::vector<Block>& blocks() const { return blocks_; }

 private:
  std::vector<Block> blocks_;
};

}  // namespace ipvs

#endif  // IPVS_NATIVE_MESSAGE_BLOCKS_H_
