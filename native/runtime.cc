// What the headers of C++ ask of a runtime where nothing throws: memory, and an end.
//
// With these the addon needs no libstdc++, so it is linked to no library at all:
// what it calls of the C library is found in the process that loads it, be that
// glibc, of whatever version, or musl.
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <string>

namespace {

void* Allocate(std::size_t size) {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return Allocate(size); }
void* operator new[](std::size_t size) { return Allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

extern "C" {

// A pure virtual function was called.
void __cxa_pure_virtual() { std::abort(); }

// std::shared_ptr asks glibc whether it may count without atomic operations. It may not.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

#ifdef __i386__
// The compiler calls this, which glibc has only in its static part.
void __stack_chk_fail();
__attribute__((visibility("hidden"))) void __stack_chk_fail_local() { __stack_chk_fail(); }
#endif
}

#ifndef _GLIBCXX_ATOMIC_BUILTINS
namespace __gnu_cxx {

_Atomic_word __exchange_and_add(volatile _Atomic_word* word, int value) noexcept {
  return __atomic_fetch_add(word, value, __ATOMIC_ACQ_REL);
}
void __atomic_add(volatile _Atomic_word* word, int value) noexcept {
  __atomic_fetch_add(word, value, __ATOMIC_ACQ_REL);
}

}  // namespace __gnu_cxx
#endif

namespace std {

void __throw_bad_alloc() { abort(); }
void __throw_bad_array_new_length() { abort(); }
void __throw_bad_function_call() { abort(); }
void __throw_length_error(const char*) { abort(); }
void __throw_logic_error(const char*) { abort(); }
void __throw_out_of_range_fmt(const char*, ...) { abort(); }
void __throw_system_error(int) { abort(); }

// Without run-time type information no type is that of a tag.
bool _Sp_make_shared_tag::_S_eq(const type_info&) noexcept { return false; }

template class basic_string<char>;

}  // namespace std
