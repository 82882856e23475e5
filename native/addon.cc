// The only file that knows JavaScript. lib/transport/addon.ts has its interface
// for TypeScript, and its promises.
#include <napi.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "genl_socket.h"
#include "header_constants.h"
#include "host.h"
#include "netns.h"

namespace ipvs {
namespace {

// Smaller results are copied into ArrayBuffers that V8 allocates, which is cheaper
// than making and finalizing one over our own memory.
constexpr size_t kMinExternalBytes = 32 << 10;

constexpr size_t kMaxFamilyLength = 15;  // GENL_NAMSIZ - 1
constexpr double kMaxTimeoutMs = 2147483647;
// Most bytes that one read of a file asks for: 2^20.
constexpr double kMaxReadBytes = 1048576;
constexpr uint32_t kMaxAttribute = 0x3fff;

// ---- Node-API. The rest of the file calls it only through this part.
//
// JavaScript can be terminated between any two calls and during each of them:
// worker.terminate() and the time limits of node:vm come from other threads.
// From then on each call that could run JavaScript fails, often without a pending
// exception. So a failed call returns nothing here (nullptr, nullopt or false), a
// call that gets nothing fails (Node-API refuses nullptr), and in the end Node
// gets nothing. Throwing has no effect then.
//
// The C++ wrappers of napi.h are not used: they answer a failed call with an
// exception of their own, and where they cannot make or throw it they abort the
// process (napi_fatal_error).

// A value of JavaScript. nullptr: nothing, because a call failed.
using Value = napi_value;

class Js {
 public:
  explicit Js(napi_env env) : env_(env) {}

  // ---- To JavaScript.

  Value Undefined() const { return Made(napi_get_undefined); }
  Value Null() const { return Made(napi_get_null); }
  Value Boolean(bool value) const { return Made(napi_get_boolean, value); }
  Value Number(double value) const { return Made(napi_create_double, value); }
  Value String(const std::string& text) const {
    return Made(napi_create_string_utf8, text.data(), text.size());
  }
  Value Object() const { return Made(napi_create_object); }
  Value Array(size_t length) const { return Made(napi_create_array_with_length, length); }

  Value CopyToArrayBuffer(const uint8_t* bytes, size_t size) const {
    void* copy = nullptr;
    const Value buffer = Made(napi_create_arraybuffer, size, &copy);
    if (buffer != nullptr && size != 0) std::memcpy(copy, bytes, size);
    return buffer;
  }

  // An ArrayBuffer of the bytes of `owner`, which moving it does not move. Many
  // bytes are not copied: the owner then lives until the ArrayBuffer is detached or
  // collected.
  template <typename Owner>
  Value ArrayBuffer(uint8_t* bytes, size_t size, Owner owner) const;

  bool Set(Value object, const char* name, Value value) const {
    return napi_set_named_property(env_, object, name, value) == napi_ok;
  }
  bool Set(Value array, uint32_t index, Value value) const {
    return napi_set_element(env_, array, index, value) == napi_ok;
  }

  // ---- From JavaScript. Nothing if the value has another type.

  std::optional<double> AsNumber(Value value) const { return Read(napi_get_value_double, value); }
  std::optional<bool> AsBoolean(Value value) const { return Read(napi_get_value_bool, value); }
  std::optional<uint32_t> ArrayLength(Value value) const {
    return Read(napi_get_array_length, value);
  }
  bool IsUndefined(Value value) const { return Read(napi_typeof, value) == napi_undefined; }
  bool IsObject(Value value) const {
    const std::optional<napi_valuetype> type = Read(napi_typeof, value);
    return type == napi_object || type == napi_function;
  }

  std::optional<std::string> AsString(Value value) const {
    size_t size;
    if (napi_get_value_string_utf8(env_, value, nullptr, 0, &size) != napi_ok) return std::nullopt;
    std::string text(size, '\0');
    // It writes a NUL after the text, where std::string has one anyway.
    if (napi_get_value_string_utf8(env_, value, text.data(), size + 1, &size) != napi_ok) {
      return std::nullopt;
    }
    return text;
  }

  // JavaScript keeps the bytes.
  std::optional<Bytes> AsUint8Array(Value value) const {
    napi_typedarray_type type;
    size_t size;
    void* data;
    if (napi_get_typedarray_info(env_, value, &type, &size, &data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array) {
      return std::nullopt;
    }
    return Bytes{static_cast<const uint8_t*>(data), size};
  }

  // A getter may run, and throw.
  Value Get(Value object, const char* name) const {
    return Made(napi_get_named_property, object, name);
  }
  Value Get(Value array, uint32_t index) const { return Made(napi_get_element, array, index); }

  // The T behind an instance of its class. nullptr if it is not one.
  template <typename T>
  T* Unwrap(Value instance) const {
    bool is_one = false;
    void* object;
    if (!IsObject(instance) ||
        napi_check_object_type_tag(env_, instance, &T::kTypeTag, &is_one) != napi_ok || !is_one ||
        napi_unwrap(env_, instance, &object) != napi_ok) {
      return nullptr;
    }
    return static_cast<T*>(object);
  }

  // Takes an ArrayBuffer's bytes from JavaScript. False if it is not one.
  bool Detach(Value buffer) const {
    if (Read(napi_is_arraybuffer, buffer) != true) return false;
    // Fails for one that may not be detached, such as the memory of WebAssembly.
    napi_detach_arraybuffer(env_, buffer);
    return true;
  }

  // ---- Exceptions. One that is pending stays.

  std::nullopt_t ThrowTypeError(const char* message) const {
    napi_throw_type_error(env_, nullptr, message);
    return std::nullopt;
  }
  std::nullopt_t ThrowRangeError(const char* message) const {
    napi_throw_range_error(env_, nullptr, message);
    return std::nullopt;
  }
  std::nullopt_t ThrowError(const char* message) const {
    napi_throw_error(env_, nullptr, message);
    return std::nullopt;
  }
  // Before a value goes to Node, for which nothing is undefined.
  Value ValueOrThrow(Value value) const {
    if (value == nullptr) ThrowError("a call of Node-API failed");
    return value;
  }

 private:
  friend class Call;
  friend class HandleScope;
  friend class Task;

  // The value that `make` writes through its last argument.
  template <typename... Parameters, typename... Arguments>
  Value Made(napi_status (*make)(napi_env, Parameters...), Arguments... arguments) const {
    Value value = nullptr;
    return make(env_, arguments..., &value) == napi_ok ? value : nullptr;
  }

  template <typename T>
  std::optional<T> Read(napi_status (*read)(napi_env, Value, T*), Value value) const {
    T result;
    if (read(env_, value, &result) != napi_ok) return std::nullopt;
    return result;
  }

  napi_env env_;
};

template <typename Owner>
Value Js::ArrayBuffer(uint8_t* bytes, size_t size, Owner owner) const {
  if (size < kMinExternalBytes) return CopyToArrayBuffer(bytes, size);
  auto kept = std::make_unique<std::optional<Owner>>(std::move(owner));
  Value buffer = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      env_, bytes, size,
      [](napi_env, void*, void* hint) { delete static_cast<std::optional<Owner>*>(hint); },
      kept.get(), &buffer);
  // Not every embedder has them.
  if (status == napi_no_external_buffers_allowed) return CopyToArrayBuffer(bytes, size);
  // After a failure the finalizer may be called later or never: Node does not say
  // which. So the owner is freed now, and only its holder is left to the finalizer.
  if (status != napi_ok) kept->reset();
  kept.release();
  return status == napi_ok ? buffer : nullptr;
}

// Fills an object. Once a property fails, the object is nothing.
class Object {
 public:
  explicit Object(Js js) : Object(js, js.Object()) {}
  Object(Js js, Value object) : js_(js), object_(object) {}

  void Set(const char* name, Value value) {
    if (!js_.Set(object_, name, value)) object_ = nullptr;
  }

  Value value() const { return object_; }

 private:
  const Js js_;
  Value object_;
};

// Frees the handles of the values that are made while it lives.
class HandleScope {
 public:
  explicit HandleScope(Js js) : env_(js.env_) {
    if (napi_open_handle_scope(env_, &scope_) != napi_ok) scope_ = nullptr;
  }
  ~HandleScope() {
    if (scope_ != nullptr) napi_close_handle_scope(env_, scope_);
  }
  HandleScope(const HandleScope&) = delete;
  HandleScope& operator=(const HandleScope&) = delete;

 private:
  const napi_env env_;
  napi_handle_scope scope_ = nullptr;
};

// A call of a constructor, a method of a class, or a function.
class Call : public Js {
 public:
  // Undefined if JavaScript passed fewer.
  Value operator[](size_t index) const { return arguments_[index]; }

  // A class of JavaScript. T::New(call) makes the T behind an instance, which is
  // deleted with it; nullptr after an exception.
  template <typename T, size_t count>
  static Value Class(Js js, const char* name, const napi_property_descriptor (&methods)[count]) {
    return js.Made(napi_define_class, name, NAPI_AUTO_LENGTH, Construct<T>, nullptr, count,
                   methods);
  }

  // `method` returns the result for JavaScript, or nothing.
  template <typename T, Value (T::*method)(const Call&)>
  static napi_property_descriptor Method(const char* name) {
    napi_property_descriptor descriptor = {};
    descriptor.utf8name = name;
    descriptor.method = Invoke<T, method>;
    return descriptor;
  }

  template <Value (*function)(const Call&)>
  static Value Function(Js js, const char* name) {
    return js.Made(napi_create_function, name, NAPI_AUTO_LENGTH, InvokeFunction<function>, nullptr);
  }

 private:
  // Those of the longest signature.
  static constexpr size_t kArguments = 3;

  Call(napi_env env, napi_callback_info info) : Js(env) {
    size_t count = kArguments;
    napi_get_cb_info(env, info, &count, arguments_, &this_, nullptr);
  }

  template <typename T>
  static napi_value Construct(napi_env env, napi_callback_info info) {
    const Call call(env, info);
    if (call.Made(napi_get_new_target, info) == nullptr) {
      call.ThrowTypeError("Class constructors cannot be invoked without 'new'");
      return nullptr;
    }
    std::unique_ptr<T> object = T::New(call);
    return call.ValueOrThrow(object ? call.Wrap(std::move(object)) : nullptr);
  }

  template <typename T, Value (T::*method)(const Call&)>
  static napi_value Invoke(napi_env env, napi_callback_info info) {
    const Call call(env, info);
    // V8 lets only instances of the class call its methods.
    T* const object = call.Unwrap<T>(call.this_);
    return call.ValueOrThrow(object != nullptr ? (object->*method)(call) : nullptr);
  }

  template <Value (*function)(const Call&)>
  static napi_value InvokeFunction(napi_env env, napi_callback_info info) {
    const Call call(env, info);
    return call.ValueOrThrow(function(call));
  }

  // Makes `this` own `object`.
  template <typename T>
  Value Wrap(std::unique_ptr<T> object) const {
    const auto finalize = [](napi_env, void* data, void*) { delete static_cast<T*>(data); };
    if (napi_wrap(env_, this_, object.get(), finalize, nullptr, nullptr) != napi_ok) return nullptr;
    object.release();
    return napi_type_tag_object(env_, this_, &T::kTypeTag) == napi_ok ? this_ : nullptr;
  }

  Value arguments_[kArguments] = {};
  Value this_ = nullptr;
};

// Work for one of libuv's pool threads, and its end on the JS thread.
class Task {
 public:
  virtual ~Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  // Runs `task`, then deletes it. Returns a promise of its result, or nothing if
  // it did not start. An environment that ends finishes its tasks first.
  static Value Start(Js js, const char* name, std::unique_ptr<Task> task) {
    const napi_env env = js.env_;
    const Value promise = js.Made(napi_create_promise, &task->deferred_);
    if (promise == nullptr ||
        napi_create_async_work(env, nullptr, js.String(name), OnPoolThread, OnJsThread, task.get(),
                               &task->work_) != napi_ok) {
      return nullptr;
    }
    if (napi_queue_async_work(env, task->work_) != napi_ok) {
      napi_delete_async_work(env, task->work_);
      return nullptr;
    }
    task.release();
    return promise;
  }

 protected:
  Task() = default;

 private:
  // Pool thread. Must not touch JavaScript.
  virtual void Run() = 0;
  // JS thread, after Run(). Nothing: the promise is rejected.
  virtual Value Finish(Js js) = 0;

  static void OnPoolThread(napi_env, void* data) { static_cast<Task*>(data)->Run(); }

  // The status says whether it was cancelled, which no task ever is.
  static void OnJsThread(napi_env env, napi_status, void* data) {
    const std::unique_ptr<Task> task(static_cast<Task*>(data));
    const Js js(env);
    Value value = js.ValueOrThrow(task->Finish(js));
    if (value != nullptr) {
      napi_resolve_deferred(env, task->deferred_, value);
    } else if (napi_get_and_clear_last_exception(env, &value) == napi_ok) {
      napi_reject_deferred(env, task->deferred_, value);
    }
    napi_delete_async_work(env, task->work_);
  }

  napi_async_work work_ = nullptr;
  napi_deferred deferred_ = nullptr;
};

// ---- C++ to JavaScript.

Value ToValue(Js js, const Failure& failure) {
  Object object(js);
  object.Set("errno", js.Number(failure.error));
  object.Set("operation", js.String(failure.operation));
  if (!failure.message.empty()) object.Set("message", js.String(failure.message));
  return object.value();
}

// Returns a block to its pool at the end.
class LentBlock {
 public:
  LentBlock(Block block, std::shared_ptr<BlockPool> pool)
      : block_(std::move(block)), pool_(std::move(pool)) {}
  ~LentBlock() {
    if (pool_) pool_->Put(std::move(block_));
  }
  LentBlock(LentBlock&&) = default;
  LentBlock& operator=(LentBlock&&) = delete;

 private:
  Block block_;
  // None after a move.
  std::shared_ptr<BlockPool> pool_;
};

Value ToValue(Js js, const Outcome& outcome) {
  Object object(js);
  if (outcome.failure) object.Set("failure", ToValue(js, *outcome.failure));
  if (!outcome.data.empty()) {
    object.Set("data", js.CopyToArrayBuffer(outcome.data.data(), outcome.data.size()));
  }
  return object.value();
}

bool SameFailureAlone(const Outcome& a, const Outcome& b) {
  return a.data.empty() && b.data.empty() && a.failure && b.failure &&
         a.failure->error == b.failure->error && a.failure->operation == b.failure->operation &&
         a.failure->message == b.failure->message;
}

Value ToValue(Js js, const BatchResult& result) {
  Object object(js);
  if (result.failure) object.Set("failure", ToValue(js, *result.failure));
  const Value outcomes = js.Array(result.outcomes.size());
  const Value null = js.Null();
  // Requests of a batch often fail in the same way, and then share an object.
  const Outcome* shared = nullptr;
  Value shared_value = nullptr;
  for (uint32_t i = 0; i < result.outcomes.size(); ++i) {
    const Outcome* outcome = result.outcomes[i].get();
    bool done;
    if (outcome == nullptr) {
      done = js.Set(outcomes, i, null);
    } else if (outcome->data.empty()) {
      if (shared == nullptr || !SameFailureAlone(*shared, *outcome)) {
        shared = outcome;
        shared_value = ToValue(js, *outcome);
      }
      done = js.Set(outcomes, i, shared_value);
    } else {
      const HandleScope scope(js);
      done = js.Set(outcomes, i, ToValue(js, *outcome));
    }
    if (!done) return nullptr;
  }
  object.Set("outcomes", outcomes);
  return object.value();
}

Value ToValue(Js js, DumpResult result) {
  Object object(js);
  if (result.failure) object.Set("failure", ToValue(js, *result.failure));
  const Value messages = js.Array(result.messages.size());
  for (uint32_t i = 0; i < result.messages.size(); ++i) {
    Block& block = result.messages[i];
    uint8_t* const bytes = block.bytes.get();
    const size_t size = block.size;
    if (!js.Set(messages, i,
                js.ArrayBuffer(bytes, size, LentBlock(std::move(block), result.pool)))) {
      return nullptr;
    }
  }
  object.Set("messages", messages);
  object.Set("interrupted", js.Boolean(result.interrupted));
  return object.value();
}

Value ToValue(Js js, Result<std::vector<uint8_t>> file) {
  Object object(js);
  if (file.ok()) {
    uint8_t* const bytes = file.value().data();
    const size_t size = file.value().size();
    object.Set("bytes", js.ArrayBuffer(bytes, size, std::move(file.value())));
  } else {
    object.Set("failure", ToValue(js, file.failure()));
  }
  return object.value();
}

Value ToValue(Js js, std::vector<Result<std::vector<uint8_t>>> files) {
  const Value list = js.Array(files.size());
  for (uint32_t i = 0; i < files.size(); ++i) {
    if (!js.Set(list, i, ToValue(js, std::move(files[i])))) return nullptr;
  }
  return list;
}

Value ToValue(Js js, const Status& status) {
  return status.ok() ? js.Undefined() : ToValue(js, status.failure());
}

// ---- JavaScript to C++. Each returns nothing after it has thrown.

// A whole number from `min` to `max`.
std::optional<double> ToWhole(Js js, Value value, double min, double max, const char* message) {
  const std::optional<double> number = js.AsNumber(value);
  if (!number) return js.ThrowTypeError(message);
  if (!(*number >= min && *number <= max) || std::floor(*number) != *number) {
    return js.ThrowRangeError(message);
  }
  return number;
}

// A string for a system call: not empty, without NUL.
std::optional<std::string> ToPath(Js js, Value value, const char* message) {
  std::optional<std::string> path = js.AsString(value);
  if (!path) return js.ThrowTypeError(message);
  if (path->empty() || path->find('\0') != std::string::npos) return js.ThrowRangeError(message);
  return path;
}

std::optional<double> ToReadBytes(Js js, Value value) {
  return ToWhole(js, value, 0, kMaxReadBytes, "maxBytes must be a whole number from 0 to 1048576");
}

std::optional<GenlSocket::Options> ToOptions(Js js, Value value) {
  if (!js.IsObject(value)) return js.ThrowTypeError("options must be an object");
  const Value family = js.Get(value, "family");
  const Value netns = js.Get(value, "netns");
  const Value scratch = js.Get(value, "scratch");
  const Value timeout = js.Get(value, "timeoutMs");

  GenlSocket::Options options;
  std::optional<std::string> name = ToPath(js, family, "family must be a name of 1 to 15 bytes");
  if (!name) return std::nullopt;
  if (name->size() > kMaxFamilyLength) {
    return js.ThrowRangeError("family must be a name of 1 to 15 bytes");
  }
  options.family = std::move(*name);
  if (!js.IsUndefined(netns)) {
    std::optional<std::string> path = ToPath(js, netns, "netns must be a path");
    if (!path) return std::nullopt;
    options.netns = std::move(*path);
  }
  if (!js.IsUndefined(scratch)) {
    const std::optional<bool> wanted = js.AsBoolean(scratch);
    if (!wanted) return js.ThrowTypeError("scratch must be a boolean");
    options.scratch = *wanted;
  }
  if (options.scratch && !options.netns.empty()) {
    return js.ThrowTypeError("scratch cannot be used together with netns");
  }
  const std::optional<double> timeout_ms = ToWhole(
      js, timeout, 1, kMaxTimeoutMs, "timeoutMs must be a whole number from 1 to 2147483647");
  if (!timeout_ms) return std::nullopt;
  options.timeout_ms = static_cast<int>(*timeout_ms);
  return options;
}

// Requests, in a copy that JavaScript cannot change while a task reads it.
class Requests {
 public:
  static std::optional<Requests> From(Js js, Value value, double count) {
    const std::optional<Bytes> bytes = js.AsUint8Array(value);
    if (!bytes) return js.ThrowTypeError("requests must be a Uint8Array");
    Requests requests;
    requests.bytes_.assign(bytes->data, bytes->data + bytes->size);
    if (count > static_cast<double>(requests.bytes_.size()) ||
        !ParseRequests({requests.bytes_.data(), requests.bytes_.size()},
                       static_cast<size_t>(count), &requests.payloads_)) {
      return js.ThrowRangeError("requests must hold as many requests as told, and nothing else");
    }
    return requests;
  }

  // Moving a vector does not move its elements, so the payloads stay right.
  Requests(Requests&&) = default;
  Requests& operator=(Requests&&) = default;

  const std::vector<Bytes>& payloads() const { return payloads_; }

 private:
  Requests() = default;

  std::vector<uint8_t> bytes_;
  // Point into bytes_.
  std::vector<Bytes> payloads_;
};

// ---- Work on libuv's pool threads.

// Shared by an object of JavaScript and its task: the task may outlive the object,
// which is collected when JavaScript has dropped it. `busy` and `closed` are for the
// JS thread alone. The rest is the task's while `busy` is set, else the JS
// thread's; queueing a task and finishing it order the two.
struct SocketState {
  static constexpr char kBusy[] = "the socket has a call in flight";
  static constexpr char kClosed[] = "the socket is closed";
  static constexpr char kNotOpen[] = "the socket is not open";

  bool is_open() const { return genl != nullptr; }
  void Free() { genl.reset(); }

  GenlSocket::Options options;
  std::unique_ptr<GenlSocket> genl;
  bool busy = false;
  bool closed = false;
};

struct FileState {
  static constexpr char kBusy[] = "the file has a call in flight";
  static constexpr char kClosed[] = "the file is closed";
  static constexpr char kNotOpen[] = "the file is not open";

  bool is_open() const { return static_cast<bool>(file); }
  void Free() {
    file.Reset();
    netns.reset();
  }

  std::string path;
  // Until it is open.
  std::shared_ptr<const UniqueFd> netns;
  UniqueFd file;
  bool busy = false;
  bool closed = false;
};

// Each of these two is false after it has thrown.
template <typename State>
bool CheckIdle(Js js, const State& state) {
  if (state.closed) {
    js.ThrowError(State::kClosed);
    return false;
  }
  if (state.busy) {
    js.ThrowError(State::kBusy);
    return false;
  }
  return true;
}

template <typename State>
bool CheckOpen(Js js, const State& state) {
  if (!CheckIdle(js, state)) return false;
  if (!state.is_open()) {
    js.ThrowError(State::kNotOpen);
    return false;
  }
  return true;
}

// A task in flight frees it when it is done.
template <typename State>
void Close(State* state) {
  state->closed = true;
  if (!state->busy) state->Free();
}

template <typename State, typename Work>
class StateTask final : public Task {
 public:
  StateTask(std::shared_ptr<State> state, Work work)
      : state_(std::move(state)), work_(std::move(work)) {}

 private:
  void Run() override { result_.emplace(work_()); }

  Value Finish(Js js) override {
    state_->busy = false;
    if (state_->closed) state_->Free();
    return ToValue(js, std::move(*result_));
  }

  const std::shared_ptr<State> state_;
  const Work work_;
  std::optional<std::invoke_result_t<const Work&>> result_;
};

// Calls `work()` on a pool thread. Returns a promise of ToValue() of its result.
// `work` owns everything that it reads, and touches no JavaScript. `state` is busy
// meanwhile.
template <typename State, typename Work>
Value RunOnPool(Js js, const char* name, const std::shared_ptr<State>& state, Work work) {
  const Value promise =
      Task::Start(js, name, std::make_unique<StateTask<State, Work>>(state, std::move(work)));
  // The task finishes on this thread, so not yet.
  if (promise != nullptr) state->busy = true;
  return promise;
}

// ---- The interface for JavaScript.

class Socket {
 public:
  static constexpr napi_type_tag kTypeTag = {0x0e0c6f5d2b9f4a31, 0x9d54c1a7e8b3620f};

  static Value Define(Js js) {
    return Call::Class<Socket>(js, "Socket",
                               {Call::Method<Socket, &Socket::Open>("open"),
                                Call::Method<Socket, &Socket::Batch>("batch"),
                                Call::Method<Socket, &Socket::Dump>("dump"),
                                Call::Method<Socket, &Socket::DumpOfDumps>("dumpOfDumps"),
                                Call::Method<Socket, &Socket::Release>("release"),
                                Call::Method<Socket, &Socket::ReadFiles>("readFiles"),
                                Call::Method<Socket, &Socket::WriteFile>("writeFile"),
                                Call::Method<Socket, &Socket::Close>("close")});
  }

  static std::unique_ptr<Socket> New(const Call& call) {
    std::optional<GenlSocket::Options> options = ToOptions(call, call[0]);
    return options ? std::unique_ptr<Socket>(new Socket(std::move(*options))) : nullptr;
  }

  const SocketState& state() const { return *state_; }

 private:
  explicit Socket(GenlSocket::Options options) : state_(std::make_shared<SocketState>()) {
    state_->options = std::move(options);
  }

  Value Open(const Call& call) {
    if (!CheckIdle(call, *state_)) return nullptr;
    if (state_->is_open()) {
      call.ThrowError("the socket is open already");
      return nullptr;
    }
    return RunOnPool(call, "ipvs.open", state_, [state = state_]() -> Status {
      Result<std::unique_ptr<GenlSocket>> genl = GenlSocket::Open(state->options);
      if (!genl.ok()) return genl.TakeFailure();
      state->genl = std::move(genl.value());
      return {};
    });
  }

  Value Batch(const Call& call) {
    if (!CheckOpen(call, *state_)) return nullptr;
    const std::optional<double> count =
        ToWhole(call, call[1], 0, UINT32_MAX, "count must be a whole number from 0 to 4294967295");
    if (!count) return nullptr;
    std::optional<Requests> requests = Requests::From(call, call[0], *count);
    if (!requests) return nullptr;
    return RunOnPool(call, "ipvs.batch", state_,
                     [state = state_, requests = std::move(*requests)] {
                       return state->genl->Batch(requests.payloads());
                     });
  }

  Value Dump(const Call& call) {
    if (!CheckOpen(call, *state_)) return nullptr;
    std::optional<Requests> request = Requests::From(call, call[0], 1);
    if (!request) return nullptr;
    return RunOnPool(call, "ipvs.dump", state_, [state = state_, request = std::move(*request)] {
      return state->genl->Dump(request.payloads()[0]);
    });
  }

  Value DumpOfDumps(const Call& call) {
    if (!CheckOpen(call, *state_)) return nullptr;
    std::optional<Requests> outer = Requests::From(call, call[0], 1);
    if (!outer) return nullptr;
    const std::optional<double> command = ToWhole(
        call, call[1], 0, UINT8_MAX, "innerCommand must be a whole number from 0 to 255");
    if (!command) return nullptr;
    const std::optional<double> attribute = ToWhole(
        call, call[2], 1, kMaxAttribute, "attribute must be a whole number from 1 to 16383");
    if (!attribute) return nullptr;
    return RunOnPool(
        call, "ipvs.dumpOfDumps", state_,
        [state = state_, outer = std::move(*outer), command = static_cast<uint8_t>(*command),
         attribute = static_cast<uint16_t>(*attribute)] {
          return state->genl->DumpOfDumps(outer.payloads()[0], command, attribute);
        });
  }

  // Takes ArrayBuffers of dumps from JavaScript. Their finalizers do the rest.
  Value Release(const Call& call) {
    const std::optional<uint32_t> count = call.ArrayLength(call[0]);
    bool all = count.has_value();
    for (uint32_t i = 0; all && i < *count; ++i) all = call.Detach(call.Get(call[0], i));
    if (!all) {
      call.ThrowTypeError("messages must be an array of ArrayBuffers");
      return nullptr;
    }
    return call.Undefined();
  }

  Value ReadFiles(const Call& call) {
    const std::optional<uint32_t> count = call.ArrayLength(call[0]);
    if (!count) {
      call.ThrowTypeError("paths must be an array of paths");
      return nullptr;
    }
    std::vector<std::string> paths;
    for (uint32_t i = 0; i < *count; ++i) {
      std::optional<std::string> path =
          ToPath(call, call.Get(call[0], i), "paths must be an array of paths");
      if (!path) return nullptr;
      paths.push_back(std::move(*path));
    }
    const std::optional<double> max_bytes = ToReadBytes(call, call[1]);
    if (!max_bytes) return nullptr;
    // Last: a getter of the array may have closed this, or begun another call.
    if (!CheckOpen(call, *state_)) return nullptr;
    return RunOnPool(
        call, "ipvs.readFiles", state_,
        [state = state_, paths = std::move(paths), max_bytes = static_cast<size_t>(*max_bytes)] {
          return state->genl->ReadFiles(paths, max_bytes);
        });
  }

  Value WriteFile(const Call& call) {
    if (!CheckOpen(call, *state_)) return nullptr;
    std::optional<std::string> path = ToPath(call, call[0], "path must be a path");
    if (!path) return nullptr;
    std::optional<std::string> content = call.AsString(call[1]);
    if (!content) {
      call.ThrowTypeError("content must be a string");
      return nullptr;
    }
    return RunOnPool(call, "ipvs.writeFile", state_,
                     [state = state_, path = std::move(*path), content = std::move(*content)] {
                       return state->genl->WriteFile(path, content);
                     });
  }

  Value Close(const Call& call) {
    ipvs::Close(state_.get());
    return call.Undefined();
  }

  const std::shared_ptr<SocketState> state_;
};

class File {
 public:
  static constexpr napi_type_tag kTypeTag = {0x5b7d10c94e6a4f28, 0x8a3f92d6071bce54};

  static Value Define(Js js) {
    return Call::Class<File>(js, "File",
                             {Call::Method<File, &File::Open>("open"),
                              Call::Method<File, &File::Read>("read"),
                              Call::Method<File, &File::Close>("close")});
  }

  static std::unique_ptr<File> New(const Call& call) {
    const Socket* const socket = call.Unwrap<Socket>(call[0]);
    if (socket == nullptr) {
      call.ThrowTypeError("socket must be a Socket");
      return nullptr;
    }
    std::optional<std::string> path = ToPath(call, call[1], "path must be a path");
    if (!path || !CheckOpen(call, socket->state())) return nullptr;
    return std::unique_ptr<File>(new File(std::move(*path), socket->state().genl->netns()));
  }

 private:
  File(std::string path, std::shared_ptr<const UniqueFd> netns)
      : state_(std::make_shared<FileState>()) {
    state_->path = std::move(path);
    state_->netns = std::move(netns);
  }

  Value Open(const Call& call) {
    if (!CheckIdle(call, *state_)) return nullptr;
    if (state_->is_open()) {
      call.ThrowError("the file is open already");
      return nullptr;
    }
    return RunOnPool(call, "ipvs.openFile", state_, [state = state_]() -> Status {
      Result<UniqueFd> file = OpenFile(state->path, *state->netns);
      if (!file.ok()) return file.TakeFailure();
      state->file = std::move(file.value());
      state->netns.reset();
      return {};
    });
  }

  Value Read(const Call& call) {
    const std::optional<double> max_bytes = ToReadBytes(call, call[0]);
    if (!max_bytes || !CheckOpen(call, *state_)) return nullptr;
    return RunOnPool(call, "ipvs.readFile", state_,
                     [state = state_, max_bytes = static_cast<size_t>(*max_bytes)] {
                       return ReadPiece(state->file, max_bytes);
                     });
  }

  Value Close(const Call& call) {
    ipvs::Close(state_.get());
    return call.Undefined();
  }

  const std::shared_ptr<FileState> state_;
};

Value LockFile(const Call& call) {
  const std::optional<double> fd =
      ToWhole(call, call[0], 0, INT32_MAX, "fd must be a whole number from 0 to 2147483647");
  return fd ? ToValue(call, ipvs::LockFile(static_cast<int>(*fd))) : nullptr;
}

Value Notify(const Call& call) {
  const std::optional<std::string> socket = ToPath(call, call[0], "socket must be a path");
  if (!socket) return nullptr;
  const std::optional<std::string> text = call.AsString(call[1]);
  if (!text) {
    call.ThrowTypeError("text must be a string");
    return nullptr;
  }
  return ToValue(call, ipvs::Notify(*socket, *text));
}

// Of lib/transport/addon.ts, which says when to raise it.
constexpr int kInterfaceVersion = 2;

Value Fill(Js js, Value exports) {
  Object constants(js);
  for (size_t i = 0; i < kHeaderConstantCount; ++i) {
    constants.Set(kHeaderConstants[i].name, js.Number(kHeaderConstants[i].value));
  }
  Object addon(js, exports);
  addon.Set("interfaceVersion", js.Number(kInterfaceVersion));
  addon.Set("Socket", Socket::Define(js));
  addon.Set("File", File::Define(js));
  addon.Set("lockFile", Call::Function<LockFile>(js, "lockFile"));
  addon.Set("notify", Call::Function<Notify>(js, "notify"));
  addon.Set("constants", constants.value());
  return addon.value();
}

}  // namespace

// Each environment that loads the addon, such as a worker, has its own instance:
// there is no state except that of sockets and files.
NAPI_MODULE_INIT() {
  const Js js(env);
  return js.ValueOrThrow(Fill(js, exports));
}

}  // namespace ipvs
