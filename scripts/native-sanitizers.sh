#!/bin/bash
# Builds native/ with sanitizers and runs its tests: the plain test program with the address and undefined sanitizers and
# with the thread sanitizer, then the addon with the first two under the tests in test/native. Needs gcc, cmake, and make or
# ninja, and node_modules from `npm ci`; downloads nothing. Not as root it leaves out what needs root, and says so.
# Ends with one line that says what passed; its status is 0 only if all did.
set -u
cd "$(dirname "$0")/.." || exit 1

generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
passed=() failed=()

# step NAME COMMAND...
step() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  if "$@"; then passed+=("$name"); else failed+=("$name"); fi
}

# build FOLDER SANITIZERS TARGET...
build() {
  local folder=$1 sanitizers=$2
  shift 2
  cmake -S . -B "$folder" "${generator[@]}" -DCMAKE_BUILD_TYPE=Debug -DIPVS_SANITIZE="$sanitizers" >/dev/null &&
    cmake --build "$folder" --parallel --target "$@"
}

export UBSAN_OPTIONS=print_stacktrace=1

core_address() { build build-asan address,undefined native_tests && build-asan/native_tests; }

# The thread sanitizer of older compilers cannot start where the kernel spreads addresses wide (vm.mmap_rnd_bits above 28).
core_thread() {
  build build-tsan thread native_tests || return
  if setarch -R true 2>/dev/null; then setarch -R build-tsan/native_tests; else build-tsan/native_tests; fi
}

# Leaks: node itself ends without freeing all it has.
addon_address() {
  build build-asan address,undefined ipvs || return
  local libraries
  libraries="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
  LD_PRELOAD=$libraries ASAN_OPTIONS=detect_leaks=0 IPVS_ADDON=$PWD/build-asan/ipvs.node \
    node node_modules/vitest/vitest.mjs run test/native
}

step 'core: address and undefined' core_address
step 'core: thread' core_thread
step 'addon: address and undefined' addon_address

printf '\nsanitizers: '
[ ${#passed[@]} -gt 0 ] && printf 'passed (%s) ' "$(printf '%s; ' "${passed[@]}" | sed 's/; $//')"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED (%s)\n' "$(printf '%s; ' "${failed[@]}" | sed 's/; $//')"
  exit 1
fi
printf 'and nothing failed\n'
