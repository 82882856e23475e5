// The only file that knows JavaScript. What it gives to TypeScript, and what it
// promises, stands in lib/transport/addon.ts.
#include <napi.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "genl_socket.h"
#include "header_constants.h"
#include "netns.h"

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

// ---- C++ to JavaScript. Once env is terminating, every call fails and nobody
// looks at the result: what is made then may be empty.

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

Napi::Value ToArrayBuffer(Napi::Env env, Block block) {
  if (block.size >= kMinExternalBytes) {
    uint8_t* bytes = block.bytes.get();
    napi_value buffer;
    const napi_status status = napi_create_external_arraybuffer(
        env, bytes, block.size, [](napi_env, void* data, void*) { std::free(data); }, nullptr,
        &buffer);
    if (status == napi_ok) {
      block.bytes.release();
      return Napi::Value(env, buffer);
    }
    // Not every embedder has them (napi_no_external_buffers_allowed).
  }
  return CopyToArrayBuffer(env, block.bytes.get(), block.size);
}

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
    messages.Set(i, ToArrayBuffer(env, std::move(result.messages[i])));
  }
  object.Set("messages", messages);
  object.Set("interrupted", Napi::Boolean::New(env, result.interrupted));
  return object;
}

// A list of connections may have hundreds of megabytes, so it is not copied.
Napi::Value ToArrayBuffer(Napi::Env env, std::vector<uint8_t> bytes) {
  if (bytes.size() < kMinExternalBytes) return CopyToArrayBuffer(env, bytes.data(), bytes.size());
  auto owned = std::make_unique<std::vector<uint8_t>>(std::move(bytes));
  napi_value buffer;
  const napi_status status = napi_create_external_arraybuffer(
      env, owned->data(), owned->size(),
      [](napi_env, void*, void* vector) { delete static_cast<std::vector<uint8_t>*>(vector); },
      owned.get(), &buffer);
  // Not every embedder has them (napi_no_external_buffers_allowed).
  if (status != napi_ok) return CopyToArrayBuffer(env, owned->data(), owned->size());
  owned.release();
  return Napi::Value(env, buffer);
}

Napi::Value ToValue(Napi::Env env, Result<std::vector<uint8_t>> file) {
  Napi::Object object = Napi::Object::New(env);
  if (file.ok()) {
    object.Set("bytes", ToArrayBuffer(env, std::move(file.value())));
  } else {
    object.Set("failure", ToObject(env, file.failure()));
  }
  return object;
}

Napi::Value ToValue(Napi::Env env, const std::optional<Failure>& failure) {
  return failure ? ToObject(env, *failure) : env.Undefined();
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
  // A getter may throw.
  const Napi::Value family = object.Get("family");
  if (env.IsExceptionPending()) return std::nullopt;
  const Napi::Value netns = object.Get("netns");
  if (env.IsExceptionPending()) return std::nullopt;
  const Napi::Value scratch = object.Get("scratch");
  if (env.IsExceptionPending()) return std::nullopt;
  const Napi::Value timeout = object.Get("timeoutMs");
  if (env.IsExceptionPending()) return std::nullopt;

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

// Runs Work() there and resolves a promise with what ToValue() makes of its
// result. The promise is never rejected. Deletes itself.
template <typename Result>
class PromiseWorker : public Napi::AsyncWorker {
 public:
  Napi::Promise Start() {
    Napi::Promise promise = deferred_.Promise();
    Queue();
    return promise;
  }

 protected:
  PromiseWorker(Napi::Env env, const char* name)
      : Napi::AsyncWorker(env, name), deferred_(Napi::Promise::Deferred::New(env)) {}

  // Pool thread. Must not touch napi_env or any Napi:: value.
  virtual Result Work() = 0;
  // JS thread, before the promise is resolved.
  virtual void Finished() {}

 private:
  void Execute() final { result_.emplace(Work()); }

  void OnOK() final {
    Finished();
    deferred_.Resolve(ToValue(Env(), std::move(*result_)));
  }

  Napi::Promise::Deferred deferred_;
  std::optional<Result> result_;
};

class ReadFileWorker final : public PromiseWorker<Result<std::vector<uint8_t>>> {
 public:
  ReadFileWorker(Napi::Env env, std::string path, std::string netns, size_t max_bytes)
      : PromiseWorker(env, "ipvs.readFile"),
        path_(std::move(path)),
        netns_(std::move(netns)),
        max_bytes_(max_bytes) {}

 private:
  Result<std::vector<uint8_t>> Work() override {
    return ipvs::ReadFile(path_, netns_, max_bytes_);
  }

  const std::string path_;
  const std::string netns_;
  const size_t max_bytes_;
};

class WriteFileWorker final : public PromiseWorker<std::optional<Failure>> {
 public:
  WriteFileWorker(Napi::Env env, std::string path, std::string netns, std::string content)
      : PromiseWorker(env, "ipvs.writeFile"),
        path_(std::move(path)),
        netns_(std::move(netns)),
        content_(std::move(content)) {}

 private:
  std::optional<Failure> Work() override {
    ipvs::Status status = ipvs::WriteFile(path_, netns_, content_);
    if (status.ok()) return std::nullopt;
    return status.TakeFailure();
  }

  const std::string path_;
  const std::string netns_;
  const std::string content_;
};

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

template <typename Result>
class SocketWorker : public PromiseWorker<Result> {
 protected:
  SocketWorker(Napi::Env env, const char* name, std::shared_ptr<SocketState> state)
      : PromiseWorker<Result>(env, name), state_(std::move(state)) {
    state_->busy = true;
  }

  SocketState& state() { return *state_; }

 private:
  void Finished() override {
    state_->busy = false;
    if (state_->closed) state_->genl.reset();
  }

  const std::shared_ptr<SocketState> state_;
};

class OpenWorker final : public SocketWorker<std::optional<Failure>> {
 public:
  OpenWorker(Napi::Env env, std::shared_ptr<SocketState> state)
      : SocketWorker(env, "ipvs.open", std::move(state)) {}

 private:
  std::optional<Failure> Work() override {
    ipvs::Result<std::unique_ptr<GenlSocket>> genl = GenlSocket::Open(state().options);
    if (!genl.ok()) return genl.TakeFailure();
    state().genl = std::move(genl.value());
    return std::nullopt;
  }
};

class BatchWorker final : public SocketWorker<BatchResult> {
 public:
  BatchWorker(Napi::Env env, std::shared_ptr<SocketState> state, Requests requests)
      : SocketWorker(env, "ipvs.batch", std::move(state)), requests_(std::move(requests)) {}

 private:
  BatchResult Work() override { return state().genl->Batch(requests_.payloads()); }

  const Requests requests_;
};

class DumpWorker final : public SocketWorker<DumpResult> {
 public:
  DumpWorker(Napi::Env env, std::shared_ptr<SocketState> state, Requests request)
      : SocketWorker(env, "ipvs.dump", std::move(state)), request_(std::move(request)) {}

 private:
  DumpResult Work() override { return state().genl->Dump(request_.payloads()[0]); }

  const Requests request_;
};

class DumpOfDumpsWorker final : public SocketWorker<DumpResult> {
 public:
  DumpOfDumpsWorker(Napi::Env env, std::shared_ptr<SocketState> state, Requests outer,
                    uint8_t inner_command, uint16_t attribute)
      : SocketWorker(env, "ipvs.dumpOfDumps", std::move(state)),
        outer_(std::move(outer)),
        inner_command_(inner_command),
        attribute_(attribute) {}

 private:
  DumpResult Work() override {
    return state().genl->DumpOfDumps(outer_.payloads()[0], inner_command_, attribute_);
  }

  const Requests outer_;
  const uint8_t inner_command_;
  const uint16_t attribute_;
};

// ---- What JavaScript sees.

class Socket : public Napi::ObjectWrap<Socket> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Socket",
                       {InstanceMethod<&Socket::Open>("open"),
                        InstanceMethod<&Socket::Batch>("batch"),
                        InstanceMethod<&Socket::Dump>("dump"),
                        InstanceMethod<&Socket::DumpOfDumps>("dumpOfDumps"),
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
    return (new OpenWorker(env, state_))->Start();
  }

  Napi::Value Batch(const Napi::CallbackInfo& info) {
    if (!CheckOpen(info.Env())) return Napi::Value();
    const std::optional<double> count =
        ToWhole(info[1], 0, UINT32_MAX, "count must be a whole number from 0 to 4294967295");
    if (!count) return Napi::Value();
    std::optional<Requests> requests = Requests::From(info[0], *count);
    if (!requests) return Napi::Value();
    return (new BatchWorker(info.Env(), state_, std::move(*requests)))->Start();
  }

  Napi::Value Dump(const Napi::CallbackInfo& info) {
    if (!CheckOpen(info.Env())) return Napi::Value();
    std::optional<Requests> request = Requests::From(info[0], 1);
    if (!request) return Napi::Value();
    return (new DumpWorker(info.Env(), state_, std::move(*request)))->Start();
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
    return (new DumpOfDumpsWorker(info.Env(), state_, std::move(*outer),
                                  static_cast<uint8_t>(*command),
                                  static_cast<uint16_t>(*attribute)))
        ->Start();
  }

  void Close(const Napi::CallbackInfo&) {
    state_->closed = true;
    // A worker's SocketWorker::Finished() does it otherwise.
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
                          InstanceMethod<&Addon::ReadFile>("readFile", napi_enumerable),
                          InstanceMethod<&Addon::WriteFile>("writeFile", napi_enumerable),
                          InstanceValue("constants", constants, napi_enumerable)});
  }

 private:
  Napi::Value ReadFile(const Napi::CallbackInfo& info) {
    std::optional<std::string> path = ToPath(info[0], "path must be a path");
    if (!path) return Napi::Value();
    std::optional<std::string> netns = ToNetns(info[1]);
    if (!netns) return Napi::Value();
    std::optional<double> max_bytes =
        ToWhole(info[2], 0, kMaxFileBytes, "maxBytes must be a whole number from 0 to 268435456");
    if (!max_bytes) return Napi::Value();
    return (new ReadFileWorker(info.Env(), std::move(*path), std::move(*netns),
                               static_cast<size_t>(*max_bytes)))
        ->Start();
  }

  Napi::Value WriteFile(const Napi::CallbackInfo& info) {
    std::optional<std::string> path = ToPath(info[0], "path must be a path");
    if (!path) return Napi::Value();
    std::optional<std::string> netns = ToNetns(info[1]);
    if (!netns) return Napi::Value();
    if (!info[2].IsString()) {
      ThrowTypeError(info.Env(), "content must be a string");
      return Napi::Value();
    }
    return (new WriteFileWorker(info.Env(), std::move(*path), std::move(*netns),
                                info[2].As<Napi::String>().Utf8Value()))
        ->Start();
  }

  // Empty where none is given.
  static std::optional<std::string> ToNetns(Napi::Value value) {
    if (value.IsUndefined()) return std::string();
    return ToPath(value, "netns must be a path");
  }
};

}  // namespace

NODE_API_ADDON(Addon)

}  // namespace ipvs
