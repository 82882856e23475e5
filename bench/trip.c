// A trip to Node's thread pool that does nothing there: the least that any call of an addon costs
// that may not keep the JS thread waiting. trip() gives a promise, as the library's calls do.
#include <node_api.h>
#include <stdlib.h>

struct Trip {
  napi_async_work work;
  napi_deferred deferred;
};

// On the pool's thread.
static void DoNothing(napi_env env, void* data) {
  (void)env;
  (void)data;
}

// Back on the JS thread.
static void Arrive(napi_env env, napi_status status, void* data) {
  (void)status;
  struct Trip* trip = data;
  napi_value undefined;
  napi_get_undefined(env, &undefined);
  napi_resolve_deferred(env, trip->deferred, undefined);
  napi_delete_async_work(env, trip->work);
  free(trip);
}

static napi_value StartTrip(napi_env env, napi_callback_info info) {
  (void)info;
  struct Trip* trip = malloc(sizeof(*trip));
  napi_value promise;
  napi_value name;
  if (trip == NULL || napi_create_promise(env, &trip->deferred, &promise) != napi_ok ||
      napi_create_string_utf8(env, "trip", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, DoNothing, Arrive, trip, &trip->work) != napi_ok ||
      napi_queue_async_work(env, trip->work) != napi_ok) {
    abort();
  }
  return promise;
}

NAPI_MODULE_INIT() {
  napi_value trip;
  if (napi_create_function(env, "trip", NAPI_AUTO_LENGTH, StartTrip, NULL, &trip) != napi_ok ||
      napi_set_named_property(env, exports, "trip", trip) != napi_ok) {
    abort();
  }
  return exports;
}
