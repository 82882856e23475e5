#ifndef IPVS_NATIVE_TEST_CHECK_H_
#define IPVS_NATIVE_TEST_CHECK_H_

#include <sstream>
#include <string>

// A test is a function with a sentence for a name. It goes on after a failed
// CHECK and ends at a failed REQUIRE.
//
//   TEST("a batch without requests sends nothing") { CHECK(...); }

namespace ipvs::test {

using TestFunction = void (*)();

// Called before main() by TEST.
int Register(const char* name, TestFunction function);

void Fail(const char* file, int line, const std::string& what);

// Ends the test as neither passed nor failed. IPVS_REQUIRE=root makes it fail.
void Skip(const char* missing);

template <typename A, typename B>
bool CheckEqual(const char* file, int line, const char* text, const A& actual, const B& expected) {
  if (actual == expected) return true;
  std::ostringstream what;
  what << text << ": got " << actual << ", expected " << expected;
  Fail(file, line, what.str());
  return false;
}

}  // namespace ipvs::test

#define IPVS_TEST_JOIN2(a, b) a##b
#define IPVS_TEST_JOIN(a, b) IPVS_TEST_JOIN2(a, b)

#define TEST(name)                                                                        \
  static void IPVS_TEST_JOIN(Test, __LINE__)();                                           \
  [[maybe_unused]] static const int IPVS_TEST_JOIN(kTest, __LINE__) =                     \
      ::ipvs::test::Register(name, IPVS_TEST_JOIN(Test, __LINE__));                       \
  static void IPVS_TEST_JOIN(Test, __LINE__)()

#define CHECK(condition)                                                 \
  do {                                                                   \
    if (!(condition)) ::ipvs::test::Fail(__FILE__, __LINE__, #condition); \
  } while (false)

#define CHECK_EQ(actual, expected) \
  ::ipvs::test::CheckEqual(__FILE__, __LINE__, #actual, actual, expected)

#define REQUIRE(condition)                                  \
  do {                                                      \
    if (!(condition)) {                                     \
      ::ipvs::test::Fail(__FILE__, __LINE__, #condition);   \
      return;                                               \
    }                                                       \
  } while (false)

#define SKIP(missing)               \
  do {                              \
    ::ipvs::test::Skip(missing);    \
    return;                         \
  } while (false)

#endif  // IPVS_NATIVE_TEST_CHECK_H_
