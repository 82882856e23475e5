#ifndef IPVS_NATIVE_STATUS_H_
#define IPVS_NATIVE_STATUS_H_

#include <cassert>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace ipvs {

// `Failure::operation` if the kernel answered a request with an errno.
inline constexpr char kReplyOperation[] = "reply";
// If the name of the family could not be resolved. ENOENT: the kernel has no such
// family and found no module for it.
inline constexpr char kFamilyOperation[] = "family";
// If the file of a network namespace could not be opened. "open" is for the file
// that the caller asked for.
inline constexpr char kNetnsOperation[] = "netns";

// Errors are values here: the core is built without exceptions.
struct Failure {
  // Positive errno.
  int error = 0;
  // The system call that failed, or one of the names above. Always a literal, so
  // it may be kept.
  const char* operation = "";
  // The kernel's words (NLMSGERR_ATTR_MSG). Empty: it sent none.
  std::string message;

  bool IsReply(int wanted) const { return error == wanted && operation == kReplyOperation; }
};

// Success, or the failure.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Failure failure) : failure_(std::move(failure)) {}

  bool ok() const { return !failure_.has_value(); }
  const Failure& failure() const {
    assert(!ok());
    return *failure_;
  }
  Failure TakeFailure() {
    assert(!ok());
    return std::move(*failure_);
  }

 private:
  std::optional<Failure> failure_;
};

// A value, or the failure.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Failure failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  bool ok() const { return state_.index() == 0; }
  T& value() {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  const Failure& failure() const {
    assert(!ok());
    return *std::get_if<1>(&state_);
  }
  Failure TakeFailure() {
    assert(!ok());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, Failure> state_;
};

}  // namespace ipvs

#endif  // IPVS_NATIVE_STATUS_H_
