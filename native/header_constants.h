#ifndef IPVS_NATIVE_HEADER_CONSTANTS_H_
#define IPVS_NATIVE_HEADER_CONSTANTS_H_

#include <cstddef>
#include <cstdint>

namespace ipvs {

struct HeaderConstant {
  const char* name;
  uint32_t value;
};

extern const HeaderConstant kHeaderConstants[];
extern const size_t kHeaderConstantCount;

}  // namespace ipvs

#endif  // IPVS_NATIVE_HEADER_CONSTANTS_H_
