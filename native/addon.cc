// The only file that knows JavaScript. What it gives to TypeScript, and what it
// promises, stands in lib/transport/addon.ts.
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

namespace ipvs {
namespace {

// Smaller results are copied into ArrayBuffers that V8 allocates, which is
// cheaper than to make and to finalize one over memory of ours.
constexpr size_t kMinExternalBytes = 32 << 10;

constexpr size_t kMaxFamilyLength = 15;  // GENL_NAMSIZ - 1
constexpr double kMaxTimeoutMs = 2147483647;
// Longest file that readFile() takes: 2^28.
constexpr double kMaxFileBytes = 268435456;
constexpr uint32_t kMaxAttribute = 0x3fff;

// ---- C++ to JavaScript. Once env is terminating, every call fails and no
// JavaScript sees the result: what is made then may be empty. A method that
// JavaScript calls may return nothing else than a value or an empty one, for
// Node looks at that.

Napi::Object ToObject(Napi::Env env, const Failure& failure) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("errno", Napi::Number::New(env, failure.error));
  object.Set("operation", Napi::String::New(env, failure.operation));
  if (!failure.message.empty()) object.Set("message", Napi::String::New(env, failure.message));
  return object;
}

Napi::Value CopyToArrayBuffer(Napi::Env env, const uint8_t* bytes, size_t size) {
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, size);
  if (!buffer.IsEmpty() && size != 0) std::memcpy(buffer.Data(), bytes, size);
  return buffer;
}

// An ArrayBuffer of bytes that `owner` has, wherever that is moved. Many are not
// copied (a list of connections may be hundreds of megabytes): the owner then
// lives until the ArrayBuffer is detached or collected.
template <typename Owner>
Napi::Value ToArrayBuffer(Napi::Env env, uint8_t* bytes, size_t size, Owner owner) {
  if (size < kMinExternalBytes) return CopyToArrayBuffer(env, bytes, size);
  auto kept = std::make_unique<Owner>(std::move(owner));
  napi_value buffer;
  const napi_status status = napi_create_external_arraybuffer(
      env, bytes, size, [](napi_env, void*, void* hint) { delete static_cast<Owner*>(hint); },
      kept.get(), &buffer);
  // Not every embedder has them (napi_no_external_buffers_allowed).
  if (status != napi_ok) return CopyToArrayBuffer(env, bytes, size);
  kept.release();
  return Napi::Value(env, buffer);
}

// Gives a block back to its pool at the end.
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

Napi::Value ToValue(Napi::Env env, const Outcome& outcome) {
  Napi::Object object = Napi::Object::New(env);
  if (outcome.failure) object.Set("failure", ToObject(env, *outcome.failure));
  if (!outcome.data.empty()) {
    object.Set("data", CopyToArrayBuffer(env, outcome.data.data(), outcome.data.size()));
  }
  return object;
}

bool SameFailureAlone(const Outcome& a, const Outcome& b) {
  return a.data.empty() && b.data.empty() && a.failure && b.failure &&
         a.failure->error == b.failure->error && a.failure->operation == b.failure->operation &&
         a.failure->message == b.failure->message;
}

Napi::Value ToValue(Napi::Env env, const BatchResult& result) {
  Napi::Object object = Napi::Object::New(env);
  if (result.failure) object.Set("failure", ToObject(env, *result.failure));
  Napi::Array outcomes = Napi::Array::New(env, result.outcomes.size());
  const Napi::Value null = env.Null();
  // Many requests of a batch tend to fail alike, and then they share an object.
  const Outcome* shared = nullptr;
  Napi::Value shared_value;
  for (uint32_t i = 0; i < result.outcomes.size(); ++i) {
    const Outcome* outcome = result.outcomes[i].get();
    if (outcome == nullptr) {
      outcomes.Set(i, null);
    } else if (outcome->data.empty()) {
      if (shared == nullptr || !SameFailureAlone(*shared, *outcome)) {
        shared = outcome;
        shared_value = ToValue(env, *outcome);
      }
      outcomes.Set(i, shared_value);
    } else {
      Napi::HandleScope scope(env);
      outcomes.Set(i, ToValue(env, *outcome));
    }
  }
  object.Set("outcomes", outcomes);
  return object;
}

Napi::Value ToValue(Napi::Env env, DumpResult result) {
  Napi::Object object = Napi::Object::New(env);
  if (result.failure) object.Set("failure", ToObject(env, *result.failure));
  Napi::Array messages = Napi::Array::New(env, result.messages.size());
  for (uint32_t i = 0; i < result.messages.size(); ++i) {
    Block& block = result.messages[i];
    uint8_t* const bytes = block.bytes.get();
    const size_t size = block.size;
    messages.Set(i, ToArrayBuffer(env, bytes, size, LentBlock(std::move(block), result.pool)));
  }
  object.Set("messages", messages);
  object.Set("interrupted", Napi::Boolean::New(env, result.interrupted));
  return object;
}

Napi::Value ToValue(Napi::Env env, Result<std::vector<uint8_t>> file) {
  Napi::Object object = Napi::Object::New(env);
  if (file.ok()) {
    uint8_t* const bytes = file.value().data();
    const size_t size = file.value().size();
    object.Set("bytes", ToArrayBuffer(env, bytes, size, std::move(file.value())));
  } else {
    object.Set("failure", ToObject(env, file.failure()));
  }
  return object;
}

Napi::Value ToValue(Napi::Env env, const Status& status) {
  return status.ok() ? env.Undefined() : ToObject(env, status.failure());
}

// ---- JavaScript to C++. Each returns nothing after it has thrown: exceptions
// are off, so a pending JavaScript exception does not stop the caller.

std::nullopt_t ThrowTypeError(Napi::Env env, const char* message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
  return std::nullopt;
}

std::nullopt_t ThrowRangeError(Napi::Env env, const char* message) {
  Napi::RangeError::New(env, message).ThrowAsJavaScriptException();
  return std::nullopt;
}

std::nullopt_t ThrowError(Napi::Env env, const char* message) {
  Napi::Error::New(env, message).ThrowAsJavaScriptException();
  return std::nullopt;
}

// A whole number from `min` to `max`.
std::optional<double> ToWhole(Napi::Value value, double min, double max, const char* message) {
  if (!value.IsNumber()) return ThrowTypeError(value.Env(), message);
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= min && number <= max) || std::floor(number) != number) {
    return ThrowRangeError(value.Env(), message);
  }
  return number;
}

// A string for a system call: not empty, without NUL.
std::optional<std::string> ToPath(Napi::Value value, const char* message) {
  if (!value.IsString()) return ThrowTypeError(value.Env(), message);
  std::string path = value.As<Napi::String>().Utf8Value();
  if (path.empty() || path.find('\0') != std::string::npos) {
    return ThrowRangeError(value.Env(), message);
  }
  return path;
}

std::optional<GenlSocket::Options> ToOptions(Napi::Value value) {
  const Napi::Env env = value.Env();
  if (!value.IsObject()) return ThrowTypeError(env, "options must be an object");
  const Napi::Object object = value.As<Napi::Object>();
  // A getter may throw; and where env is terminating no exception is pending.
  const Napi::Value family = object.Get("family");
  if (family.IsEmpty()) return std::nullopt;
  const Napi::Value netns = object.Get("netns");
  if (netns.IsEmpty()) return std::nullopt;
  const Napi::Value scratch = object.Get("scratch");
  if (scratch.IsEmpty()) return std::nullopt;
  const Napi::Value timeout = object.Get("timeoutMs");
  if (timeout.IsEmpty()) return std::nullopt;

  GenlSocket::Options options;
  std::optional<std::string> name = ToPath(family, "family must be a name of 1 to 15 bytes");
  if (!name) return std::nullopt;
  if (name->size() > kMaxFamilyLength) {
    return ThrowRangeError(env, "family must be a name of 1 to 15 bytes");
  }
  options.family = std::move(*name);
  if (!netns.IsUndefined()) {
    std::optional<std::string> path = ToPath(netns, "netns must be a path");
    if (!path) return std::nullopt;
    options.netns = std::move(*path);
  }
  if (!scratch.IsUndefined()) {
    if (!scratch.IsBoolean()) return ThrowTypeError(env, "scratch must be a boolean");
    options.scratch = scratch.As<Napi::Boolean>().Value();
  }
  if (options.scratch && !options.netns.empty()) {
    return ThrowTypeError(env, "scratch cannot be used together with netns");
  }
  const std::optional<double> timeout_ms = ToWhole(
      timeout, 1, kMaxTimeoutMs, "timeoutMs must be a whole number from 1 to 2147483647");
  if (!timeout_ms) return std::nullopt;
  options.timeout_ms = static_cast<int>(*timeout_ms);
  return options;
}

// Requests, in a copy that JavaScript cannot change while a worker reads it.
class Requests {
 public:
  static std::optional<Requests> From(Napi::Value value, double count) {
    const Napi::Env env = value.Env();
    if (!value.IsTypedArray() ||
        value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
      return ThrowTypeError(env, "requests must be a Uint8Array");
    }
    const Napi::Uint8Array array = value.As<Napi::Uint8Array>();
    Requests requests;
    requests.bytes_.assign(array.Data(), array.Data() + array.ByteLength());
    if (count > static_cast<double>(requests.bytes_.size()) ||
        !ParseRequests({requests.bytes_.data(), requests.bytes_.size()},
                       static_cast<size_t>(count), &requests.payloads_)) {
      return ThrowRangeError(env, "requests must hold as many requests as told, and nothing else");
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

// What a Socket and its worker share: the worker may outlive the Socket, which
// is collected when JavaScript has dropped it. `busy` and `closed` are for the
// JS thread alone. `genl` is the worker's while `busy` is set, else the JS
// thread's; queueing a work and its completion order the two.
struct SocketState {
  GenlSocket::Options options;
  std::unique_ptr<GenlSocket> genl;
  bool busy = false;
  bool closed = false;
};

// Runs `work` there, see RunOnPool(). Deletes itself.
template <typename Work>
class Worker final : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, const char* name, napi_deferred deferred,
         std::shared_ptr<SocketState> state, Work work)
      : Napi::AsyncWorker(env, name),
        deferred_(deferred),
        state_(std::move(state)),
        work_(std::move(work)) {}

  void Start() {
    state_->busy = true;
    Queue();
  }

 private:
  // Pool thread.
  void Execute() override { result_.emplace(work_()); }

  // JS thread.
  void OnOK() override {
    state_->busy = false;
    if (state_->closed) state_->genl.reset();
    // Fails where env is terminating.
    napi_resolve_deferred(Env(), deferred_, ToValue(Env(), std::move(*result_)));
  }

  const napi_deferred deferred_;
  const std::shared_ptr<SocketState> state_;
  const Work work_;
  std::optional<std::invoke_result_t<const Work&>> result_;
};

// Calls `work()` on a pool thread. Resolves with what ToValue() makes of its
// result, and never rejects. `work` owns all that it reads, and touches neither
// napi_env nor any Napi:: value. `state` is that of the socket which is busy
// meanwhile.
template <typename Work>
Napi::Value RunOnPool(Napi::Env env, const char* name, std::shared_ptr<SocketState> state,
                      Work work) {
  // Not Napi::Promise::Deferred: where this fails (env is terminating) its
  // members are not set, and Promise() would hand garbage to JavaScript.
  napi_deferred deferred;
  napi_value promise;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) return Napi::Value();
  (new Worker<Work>(env, name, deferred, std::move(state), std::move(work)))->Start();
  return Napi::Value(env, promise);
}

// ---- What JavaScript sees.

class Socket : public Napi::ObjectWrap<Socket> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Socket",
                       {InstanceMethod<&Socket::Open>("open"),
                        InstanceMethod<&Socket::Batch>("batch"),
                        InstanceMethod<&Socket::Dump>("dump"),
                        InstanceMethod<&Socket::DumpOfDumps>("dumpOfDumps"),
                        InstanceMethod<&Socket::Release>("release"),
                        InstanceMethod<&Socket::ReadFile>("readFile"),
                        InstanceMethod<&Socket::WriteFile>("writeFile"),
                        InstanceMethod<&Socket::Close>("close")});
  }

  explicit Socket(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<Socket>(info), state_(std::make_shared<SocketState>()) {
    std::optional<GenlSocket::Options> options = ToOptions(info[0]);
    if (options) state_->options = std::move(*options);
  }

 private:
  Napi::Value Open(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!CheckIdle(env)) return Napi::Value();
    if (state_->genl) {
      ThrowError(env, "the socket is open already");
      return Napi::Value();
    }
    return RunOnPool(env, "ipvs.open", state_, [state = state_]() -> Status {
      Result<std::unique_ptr<GenlSocket>> genl = GenlSocket::Open(state->options);
      if (!genl.ok()) return genl.TakeFailure();
      state->genl = std::move(genl.value());
      return {};
    });
  }

  Napi::Value Batch(const Napi::CallbackInfo& info) {
    if (!CheckOpen(info.Env())) return Napi::Value();
    const std::optional<double> count =
        ToWhole(info[1], 0, UINT32_MAX, "count must be a whole number from 0 to 4294967295");
    if (!count) return Napi::Value();
    std::optional<Requests> requests = Requests::From(info[0], *count);
    if (!requests) return Napi::Value();
    return RunOnPool(info.Env(), "ipvs.batch", state_,
                     [state = state_, requests = std::move(*requests)] {
                       return state->genl->Batch(requests.payloads());
                     });
  }

  Napi::Value Dump(const Napi::CallbackInfo& info) {
    if (!CheckOpen(info.Env())) return Napi::Value();
    std::optional<Requests> request = Requests::From(info[0], 1);
    if (!request) return Napi::Value();
    return RunOnPool(info.Env(), "ipvs.dump", state_,
                     [state = state_, request = std::move(*request)] {
                       return state->genl->Dump(request.payloads()[0]);
                     });
  }

  Napi::Value DumpOfDumps(const Napi::CallbackInfo& info) {
    if (!CheckOpen(info.Env())) return Napi::Value();
    std::optional<Requests> outer = Requests::From(info[0], 1);
    if (!outer) return Napi::Value();
    const std::optional<double> command =
        ToWhole(info[1], 0, UINT8_MAX, "innerCommand must be a whole number from 0 to 255");
    if (!command) return Napi::Value();
    const std::optional<double> attribute =
        ToWhole(info[2], 1, kMaxAttribute, "attribute must be a whole number from 1 to 16383");
    if (!attribute) return Napi::Value();
    return RunOnPool(
        info.Env(), "ipvs.dumpOfDumps", state_,
        [state = state_, outer = std::move(*outer), command = static_cast<uint8_t>(*command),
         attribute = static_cast<uint16_t>(*attribute)] {
          return state->genl->DumpOfDumps(outer.payloads()[0], command, attribute);
        });
  }

  // Takes ArrayBuffers of dumps from JavaScript. Their finalizers do the rest.
  void Release(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsArray()) {
      ThrowTypeError(env, "messages must be an array of ArrayBuffers");
      return;
    }
    const Napi::Array messages = info[0].As<Napi::Array>();
    for (uint32_t i = 0; i < messages.Length(); ++i) {
      const Napi::Value message = messages[i];
      if (env.IsExceptionPending()) return;
      if (!message.IsArrayBuffer()) {
        ThrowTypeError(env, "messages must be an array of ArrayBuffers");
        return;
      }
      message.As<Napi::ArrayBuffer>().Detach();
    }
  }

  Napi::Value ReadFile(const Napi::CallbackInfo& info) {
    if (!CheckOpen(info.Env())) return Napi::Value();
    std::optional<std::string> path = ToPath(info[0], "path must be a path");
    if (!path) return Napi::Value();
    const std::optional<double> max_bytes =
        ToWhole(info[1], 0, kMaxFileBytes, "maxBytes must be a whole number from 0 to 268435456");
    if (!max_bytes) return Napi::Value();
    return RunOnPool(
        info.Env(), "ipvs.readFile", state_,
        [state = state_, path = std::move(*path), max_bytes = static_cast<size_t>(*max_bytes)] {
          return state->genl->ReadFile(path, max_bytes);
        });
  }

  Napi::Value WriteFile(const Napi::CallbackInfo& info) {
    if (!CheckOpen(info.Env())) return Napi::Value();
    std::optional<std::string> path = ToPath(info[0], "path must be a path");
    if (!path) return Napi::Value();
    if (!info[1].IsString()) {
      ThrowTypeError(info.Env(), "content must be a string");
      return Napi::Value();
    }
    return RunOnPool(info.Env(), "ipvs.writeFile", state_,
                     [state = state_, path = std::move(*path),
                      content = info[1].As<Napi::String>().Utf8Value()] {
                       return state->genl->WriteFile(path, content);
                     });
  }

  void Close(const Napi::CallbackInfo&) {
    state_->closed = true;
    // Otherwise the worker does it when it is done.
    if (!state_->busy) state_->genl.reset();
  }

  bool CheckIdle(Napi::Env env) {
    if (state_->closed) {
      ThrowError(env, "the socket is closed");
      return false;
    }
    if (state_->busy) {
      ThrowError(env, "the socket has a call in flight");
      return false;
    }
    return true;
  }

  bool CheckOpen(Napi::Env env) {
    if (!CheckIdle(env)) return false;
    if (!state_->genl) {
      ThrowError(env, "the socket is not open");
      return false;
    }
    return true;
  }

  const std::shared_ptr<SocketState> state_;
};

class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) {
    Napi::Object constants = Napi::Object::New(env);
    for (size_t i = 0; i < kHeaderConstantCount; ++i) {
      constants.Set(kHeaderConstants[i].name, Napi::Number::New(env, kHeaderConstants[i].value));
    }
    DefineAddon(exports, {InstanceValue("Socket", Socket::Define(env), napi_enumerable),
                          InstanceValue("constants", constants, napi_enumerable)});
  }
};

}  // namespace

NODE_API_ADDON(Addon)

}  // namespace ipvs
