// Runs a command and prints how many microseconds it took, from before it is started until it has
// ended:
//
//   stopwatch REPEATS INPUT OUTPUT COMMAND [ARGUMENT...]
//
// one line for each repetition. INPUT and OUTPUT are files for its standard input and output. %d in
// an ARGUMENT is the number of the repetition. Ends with status 1 when the command does not end
// with 0.
//
// Starting a process costs a large program more than a small one (and Node more than a shell), so
// the programs that the library is compared with are started by this.
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char** environ;

enum { kMaxArguments = 32, kMaxArgumentBytes = 64 };

static int64_t NowMicroseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int main(int argc, char** argv) {
  if (argc < 5 || argc - 4 >= kMaxArguments) {
    fputs("usage: stopwatch REPEATS INPUT OUTPUT COMMAND [ARGUMENT...]\n", stderr);
    return 1;
  }
  const int repeats = atoi(argv[1]);
  for (int i = 0; i < repeats; ++i) {
    char numbered[kMaxArguments][kMaxArgumentBytes];
    char* command[kMaxArguments] = {0};
    for (int at = 4; at < argc; ++at) {
      command[at - 4] = argv[at];
      if (strcmp(argv[at], "%d") != 0) continue;
      snprintf(numbered[at - 4], kMaxArgumentBytes, "%d", i);
      command[at - 4] = numbered[at - 4];
    }
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, argv[2], O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, argv[3], O_WRONLY | O_CREAT | O_TRUNC, 0600);

    const int64_t start = NowMicroseconds();
    pid_t child;
    int status;
    const int error = posix_spawnp(&child, command[0], &files, NULL, command, environ);
    if (error != 0 || waitpid(child, &status, 0) < 0) {
      fprintf(stderr, "stopwatch: %s: %s\n", command[0], strerror(error != 0 ? error : errno));
      return 1;
    }
    const int64_t end = NowMicroseconds();

    posix_spawn_file_actions_destroy(&files);
    if (status != 0) {
      fprintf(stderr, "stopwatch: %s ended with wait status %d\n", command[0], status);
      return 1;
    }
    printf("%lld\n", (long long)(end - start));
  }
  return 0;
}
