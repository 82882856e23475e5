// With this library, programs in C++ that were built for musl run with Debian's libstdc++ and
// libgcc_s, which are for glibc: musl's loader loads it first (scripts/runtimes.mjs). For tests only.
//
// musl has almost every function that the two libraries need from glibc, with the same layout of
// arguments. This file has the others, and those whose layout differs. It is compiled with glibc's
// headers and linked with nothing: the functions that it calls are musl's.
//
// One difference remains. libstdc++ for musl has other numbers for the classes of characters
// (std::ctype_base), and programs have them compiled in: \w and [[:alpha:]] in a std::regex of such
// a program match nothing. Regular expressions in JavaScript do not use std::regex.
#define _GNU_SOURCE
#include <ctype.h>
#include <link.h>
#include <locale.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

// Zero: there may be other threads, so count with atomic operations.
char __libc_single_threaded = 0;

// libgcc_s has these two itself, under a version that musl's loader passes over. It does nothing
// with them but fill in the first.
unsigned int __cpu_model[4];
int __cpu_indicator_init(void) { return 0; }

uint32_t arc4random(void) {
  uint32_t number;
  if (getrandom(&number, sizeof number, 0) != sizeof number) abort();
  return number;
}

size_t __strftime_l(char* text, size_t size, const char* format, const struct tm* time,
                    locale_t locale) {
  return strftime_l(text, size, format, time, locale);
}

// -- Locales. libstdc++ reads tables of characters in glibc's locale_t, which is longer than
// musl's. There is only the locale "C": the part that musl reads is zero, as in its own "C", and the
// tables are musl's.

static struct __locale_struct c_locale;

locale_t __newlocale(int categories, const char* name, locale_t base) {
  (void)categories;
  (void)base;
  if (strcmp(name, "C") != 0 && strcmp(name, "POSIX") != 0) return NULL;
  c_locale.__ctype_b = *__ctype_b_loc();
  c_locale.__ctype_tolower = *__ctype_tolower_loc();
  c_locale.__ctype_toupper = *__ctype_toupper_loc();
  return &c_locale;
}

locale_t __duplocale(locale_t locale) { return locale; }

void __freelocale(locale_t locale) { (void)locale; }

// -- Exceptions. Finds the unwinder's tables for the code at an address.

struct search {
  uintptr_t address;
  struct dl_find_object* found;
};

static int find_in_object(struct dl_phdr_info* object, size_t size, void* data) {
  (void)size;
  const struct search* search = data;
  uintptr_t start = UINTPTR_MAX, end = 0, eh_frame = 0;
  int here = 0;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr)* part = &object->dlpi_phdr[i];
    const uintptr_t from = object->dlpi_addr + part->p_vaddr, to = from + part->p_memsz;
    if (part->p_type == PT_GNU_EH_FRAME) eh_frame = from;
    if (part->p_type != PT_LOAD) continue;
    if (from < start) start = from;
    if (to > end) end = to;
    if (search->address >= from && search->address < to) here = 1;
  }
  if (!here || eh_frame == 0) return 0;
  *search->found = (struct dl_find_object){
      .dlfo_map_start = (void*)start, .dlfo_map_end = (void*)end, .dlfo_eh_frame = (void*)eh_frame};
  return 1;
}

int _dl_find_object(void* address, struct dl_find_object* found) {
  struct search search = {(uintptr_t)address, found};
  return dl_iterate_phdr(find_in_object, &search) ? 0 : -1;
}

// -- Destructors of thread_local objects. They run when their thread ends, the last made first.

struct at_end {
  void (*destroy)(void*);
  void* object;
  struct at_end* next;
};

static pthread_key_t at_end_key;
static pthread_once_t at_end_once = PTHREAD_ONCE_INIT;

// A destructor may register another.
static void run_at_end(void* list) {
  while (list != NULL) {
    struct at_end* first = list;
    pthread_setspecific(at_end_key, first->next);
    first->destroy(first->object);
    free(first);
    list = pthread_getspecific(at_end_key);
  }
}

static void run_at_exit(void) { run_at_end(pthread_getspecific(at_end_key)); }

static void start_at_end(void) {
  if (pthread_key_create(&at_end_key, run_at_end) != 0 || atexit(run_at_exit) != 0) abort();
}

int __cxa_thread_atexit_impl(void (*destroy)(void*), void* object, void* library) {
  (void)library;
  pthread_once(&at_end_once, start_at_end);
  struct at_end* first = malloc(sizeof *first);
  if (first == NULL) abort();
  *first = (struct at_end){destroy, object, pthread_getspecific(at_end_key)};
  return pthread_setspecific(at_end_key, first);
}

// -- std::string::_M_replace_cold. Programs of GCC 13 and later want it; libstdc++ of GCC 12 lacks
// it. Replaces `old_size` bytes at `place` with `size` bytes at `from`, which may be in the same
// string; `rest` bytes follow.

void _ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE15_M_replace_coldEPcmPKcmm(
    void* string, char* place, size_t old_size, const char* from, size_t size, size_t rest) {
  (void)string;
  char* copy = malloc(size + 1);
  if (copy == NULL) abort();
  memcpy(copy, from, size);
  memmove(place + size, place + old_size, rest);
  memcpy(place, copy, size);
  free(copy);
}
