#include <dirent.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "check.h"

namespace ipvs::test {
namespace {

struct Test {
  const char* name;
  TestFunction function;
};

std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

bool failed = false;
bool skipped = false;

int CountOpenFiles() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return -1;
  int count = 0;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

}  // namespace

int Register(const char* name, TestFunction function) {
  Tests().push_back({name, function});
  return 0;
}

void Fail(const char* file, int line, const std::string& what) {
  failed = true;
  std::printf("%s:%d: %s\n", file, line, what.c_str());
}

void Skip(const char* missing) {
  const char* required = std::getenv("IPVS_REQUIRE");
  if (required != nullptr && std::strstr(required, "root") != nullptr) {
    Fail("IPVS_REQUIRE", 0, std::string("would be skipped, needs ") + missing);
    return;
  }
  skipped = true;
  std::printf("  needs %s\n", missing);
}

}  // namespace ipvs::test

// With an argument: only the tests whose name contains it.
int main(int count, char** arguments) {
  using namespace ipvs::test;
  int passes = 0;
  int failures = 0;
  int skips = 0;
  for (const Test& test : Tests()) {
    if (count > 1 && std::strstr(test.name, arguments[1]) == nullptr) continue;
    failed = false;
    skipped = false;
    const int before = CountOpenFiles();
    test.function();
    if (CountOpenFiles() != before) Fail(__FILE__, __LINE__, "files were left open");
    std::printf("%s %s\n", failed ? "FAILED " : skipped ? "skipped" : "ok     ", test.name);
    std::fflush(stdout);
    ++(failed ? failures : skipped ? skips : passes);
  }
  std::printf("%d passed, %d failed, %d skipped\n", passes, failures, skips);
  return failures == 0 && passes > 0 ? 0 : 1;
}
