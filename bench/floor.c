// The floor: the netlink conversations of the benchmark with nothing above them. What the library
// sends, many requests to a send and an ACK for the last, is made before the clock starts; what the
// kernel answers is counted and not decoded. So this is the time that the kernel and the system
// calls take, and no program that does the same work can be much faster.
//
//   floor restore SERVICES SERVERS        adds SERVICES services with SERVERS real servers each
//   floor read SERVICES SERVERS           reads them all
//   floor edit SERVICES SERVERS REPEATS   so often: reads the servers of a service, edits one
//
// The table is that of rules.mjs. Prints the microseconds of each repetition, one to a line.
// Anything but the answers of a kernel that did all of it ends the program with status 1.
// recvmmsg()
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <linux/netlink.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Some eight hundred requests. Longer sends are no faster.
enum { kSendBytes = 128 << 10 };

// As long as the kernel makes the datagrams of a dump (netlink_dump()). Two come in one system call:
// that is all of a small dump, and its end.
enum { kReceiveBytes = 32 << 10, kDatagrams = 2 };

// The longest is a GET_DEST of Read(), which has all that the kernel said of the service.
enum { kMaxRequestBytes = 1 << 10 };

static _Noreturn void Die(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("floor: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  exit(1);
}

static int64_t NowMicroseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// ---- Requests

// Netlink messages, one behind the other.
struct Messages {
  char* bytes;
  size_t size;
  size_t capacity;
  // Where the newest one starts.
  size_t last;
};

static uint16_t family_id;
static uint32_t sequence;

static struct nlmsghdr* LastHeader(struct Messages* messages) {
  return (struct nlmsghdr*)(messages->bytes + messages->last);
}

static void BeginMessage(struct Messages* messages, uint16_t type, uint16_t flags,
                         uint8_t command) {
  if (messages->capacity - messages->size < kMaxRequestBytes) {
    messages->capacity = messages->capacity * 2 + kMaxRequestBytes;
    messages->bytes = realloc(messages->bytes, messages->capacity);
    if (messages->bytes == NULL) Die("out of memory");
  }
  messages->last = messages->size;
  memset(messages->bytes + messages->last, 0, kMaxRequestBytes);
  struct nlmsghdr* header = LastHeader(messages);
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | flags;
  header->nlmsg_seq = ++sequence;
  struct genlmsghdr* generic = NLMSG_DATA(header);
  generic->cmd = command;
  generic->version = 1;
  messages->size += NLMSG_LENGTH(GENL_HDRLEN);
}

static void EndMessage(struct Messages* messages) {
  LastHeader(messages)->nlmsg_len = messages->size - messages->last;
}

static void Put(struct Messages* messages, uint16_t type, const void* value, size_t size) {
  struct nlattr* attribute = (struct nlattr*)(messages->bytes + messages->size);
  attribute->nla_len = NLA_HDRLEN + size;
  attribute->nla_type = type;
  if (size != 0) memcpy((char*)attribute + NLA_HDRLEN, value, size);
  messages->size += NLA_ALIGN(attribute->nla_len);
}

static void Put8(struct Messages* messages, uint16_t type, uint8_t value) {
  Put(messages, type, &value, sizeof(value));
}

static void Put16(struct Messages* messages, uint16_t type, uint16_t value) {
  Put(messages, type, &value, sizeof(value));
}

static void Put32(struct Messages* messages, uint16_t type, uint32_t value) {
  Put(messages, type, &value, sizeof(value));
}

static void PutAddress(struct Messages* messages, uint16_t type, int network, int service) {
  uint8_t address[16] = {10 + network / 256, network % 256, service / 250, 1 + service % 250};
  Put(messages, type, address, sizeof(address));
}

static size_t BeginNest(struct Messages* messages, uint16_t type) {
  const size_t start = messages->size;
  Put(messages, type, NULL, 0);
  return start;
}

static void EndNest(struct Messages* messages, size_t start) {
  ((struct nlattr*)(messages->bytes + start))->nla_len = messages->size - start;
}

static void PutService(struct Messages* messages, int service, int with_settings) {
  const size_t nest = BeginNest(messages, IPVS_CMD_ATTR_SERVICE);
  Put16(messages, IPVS_SVC_ATTR_AF, AF_INET);
  Put16(messages, IPVS_SVC_ATTR_PROTOCOL, IPPROTO_TCP);
  PutAddress(messages, IPVS_SVC_ATTR_ADDR, 0, service);
  Put16(messages, IPVS_SVC_ATTR_PORT, htons(80));
  if (with_settings) {
    const struct ip_vs_flags flags = {0, ~0};
    Put(messages, IPVS_SVC_ATTR_SCHED_NAME, "wrr", 4);
    Put(messages, IPVS_SVC_ATTR_FLAGS, &flags, sizeof(flags));
    Put32(messages, IPVS_SVC_ATTR_TIMEOUT, 0);
    Put32(messages, IPVS_SVC_ATTR_NETMASK, ~0);
  }
  EndNest(messages, nest);
}

static void PutServer(struct Messages* messages, int service, int server, int weight) {
  const size_t nest = BeginNest(messages, IPVS_CMD_ATTR_DEST);
  Put16(messages, IPVS_DEST_ATTR_ADDR_FAMILY, AF_INET);
  PutAddress(messages, IPVS_DEST_ATTR_ADDR, 1 + server, service);
  Put16(messages, IPVS_DEST_ATTR_PORT, htons(8080));
  Put32(messages, IPVS_DEST_ATTR_FWD_METHOD, IP_VS_CONN_F_MASQ);
  Put32(messages, IPVS_DEST_ATTR_WEIGHT, weight);
  Put32(messages, IPVS_DEST_ATTR_U_THRESH, 0);
  Put32(messages, IPVS_DEST_ATTR_L_THRESH, 0);
  Put8(messages, IPVS_DEST_ATTR_TUN_TYPE, IP_VS_CONN_F_TUNNEL_TYPE_IPIP);
  Put16(messages, IPVS_DEST_ATTR_TUN_PORT, 0);
  Put16(messages, IPVS_DEST_ATTR_TUN_FLAGS, IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM);
  EndNest(messages, nest);
}

// ---- The socket

static int netlink_socket;
static char received[kDatagrams][kReceiveBytes];

static void Send(const void* bytes, size_t size) {
  if (send(netlink_socket, bytes, size, 0) != (ssize_t)size) Die("send: %s", strerror(errno));
}

// Waits for a datagram and takes what else is there. Fills `sizes` and returns how many they are.
static int Receive(size_t* sizes) {
  struct iovec parts[kDatagrams];
  struct mmsghdr messages[kDatagrams] = {0};
  for (int i = 0; i < kDatagrams; ++i) {
    parts[i] = (struct iovec){received[i], kReceiveBytes};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  const int count = recvmmsg(netlink_socket, messages, kDatagrams, MSG_WAITFORONE, NULL);
  if (count < 0) Die("recvmmsg: %s", strerror(errno));
  for (int i = 0; i < count; ++i) {
    if ((messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0) Die("a datagram was too long");
    sizes[i] = messages[i].msg_len;
  }
  return count;
}

static void CheckErrno(const struct nlmsghdr* header) {
  const int error = *(const int*)NLMSG_DATA(header);
  if (error != 0) Die("the kernel answered request %u: %s", header->nlmsg_seq, strerror(-error));
}

// Sends messages and reads the ACK of the last one. Without NLM_F_ACK the kernel answers only what
// fails.
static void SendAndWait(const void* bytes, size_t size, uint32_t last_sequence) {
  Send(bytes, size);
  size_t sizes[kDatagrams];
  const int datagrams = Receive(sizes);
  const struct nlmsghdr* header = (const struct nlmsghdr*)received[0];
  if (!NLMSG_OK(header, sizes[0]) || header->nlmsg_type != NLMSG_ERROR) Die("no ACK");
  CheckErrno(header);
  if (datagrams != 1 || header->nlmsg_seq != last_sequence) Die("an ACK of another request");
}

// Sends the request of a dump and hands each message that it brings to `visit`, if any. Returns how
// many they were.
static size_t Dump(const void* request, size_t size, void (*visit)(const struct nlmsghdr*)) {
  size_t count = 0;
  Send(request, size);
  for (;;) {
    size_t sizes[kDatagrams];
    const int datagrams = Receive(sizes);
    for (int i = 0; i < datagrams; ++i) {
      const struct nlmsghdr* header = (const struct nlmsghdr*)received[i];
      for (size_t left = sizes[i]; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
        if (header->nlmsg_type == NLMSG_ERROR) CheckErrno(header);
        if (header->nlmsg_type == NLMSG_DONE) {
          CheckErrno(header);
          return count;
        }
        ++count;
        if (visit != NULL) visit(header);
      }
    }
  }
}

static const struct nlattr* FindAttribute(const struct nlmsghdr* header, uint16_t type) {
  const char* at = (const char*)NLMSG_DATA(header) + GENL_HDRLEN;
  const char* end = (const char*)header + header->nlmsg_len;
  while (end - at >= NLA_HDRLEN) {
    const struct nlattr* attribute = (const struct nlattr*)at;
    if ((attribute->nla_type & NLA_TYPE_MASK) == type) return attribute;
    at += NLA_ALIGN(attribute->nla_len);
  }
  Die("a message without attribute %d", type);
}

static void ReadFamilyId(const struct nlmsghdr* header) {
  const struct nlattr* id = FindAttribute(header, CTRL_ATTR_FAMILY_ID);
  memcpy(&family_id, (const char*)id + NLA_HDRLEN, sizeof(family_id));
}

static void Open(void) {
  netlink_socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
  struct sockaddr_nl address = {.nl_family = AF_NETLINK};
  const int on = 1;
  if (netlink_socket < 0 ||
      bind(netlink_socket, (struct sockaddr*)&address, sizeof(address)) != 0 ||
      setsockopt(netlink_socket, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)) != 0) {
    Die("socket: %s", strerror(errno));
  }
  struct Messages request = {0};
  BeginMessage(&request, GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY);
  Put(&request, CTRL_ATTR_FAMILY_NAME, IPVS_GENL_NAME, sizeof(IPVS_GENL_NAME));
  EndMessage(&request);
  Send(request.bytes, request.size);
  size_t sizes[kDatagrams];
  Receive(sizes);
  const struct nlmsghdr* header = (const struct nlmsghdr*)received[0];
  if (header->nlmsg_type == NLMSG_ERROR) CheckErrno(header);
  ReadFamilyId(header);
}

// ---- The works. Each returns when its clock has stopped and all is well.

static void Restore(int services, int servers) {
  struct Messages all = {0};
  // Where each send starts, and the number of its last request.
  struct {
    size_t start;
    uint32_t last_sequence;
  }* sends = calloc((size_t)services * (1 + servers) + 1, sizeof(*sends));
  if (sends == NULL) Die("out of memory");
  size_t count = 0;
  for (int i = 0; i < services * (1 + servers); ++i) {
    if (i == 0 || all.size - sends[count - 1].start + kMaxRequestBytes > kSendBytes) {
      if (i != 0) LastHeader(&all)->nlmsg_flags |= NLM_F_ACK;
      sends[count++].start = all.size;
    }
    const int service = i / (1 + servers);
    const int server = i % (1 + servers) - 1;
    BeginMessage(&all, family_id, 0, server < 0 ? IPVS_CMD_NEW_SERVICE : IPVS_CMD_NEW_DEST);
    PutService(&all, service, server < 0);
    if (server >= 0) PutServer(&all, service, server, 1 + (service + server) % 100);
    EndMessage(&all);
    sends[count - 1].last_sequence = sequence;
  }
  LastHeader(&all)->nlmsg_flags |= NLM_F_ACK;
  sends[count].start = all.size;

  const int64_t start = NowMicroseconds();
  for (size_t i = 0; i < count; ++i) {
    SendAndWait(all.bytes + sends[i].start, sends[i + 1].start - sends[i].start,
                sends[i].last_sequence);
  }
  printf("%lld\n", (long long)(NowMicroseconds() - start));
}

// The GET_DEST requests of Read(), made of what the dump of the services brings.
static struct Messages inner;

static void AppendInner(const struct nlmsghdr* header) {
  const struct nlattr* service = FindAttribute(header, IPVS_CMD_ATTR_SERVICE);
  BeginMessage(&inner, family_id, NLM_F_DUMP, IPVS_CMD_GET_DEST);
  // The kernel looks only at what identifies it.
  if (NLMSG_LENGTH(GENL_HDRLEN) + NLA_ALIGN(service->nla_len) > kMaxRequestBytes) {
    Die("a service of %d bytes", service->nla_len);
  }
  memcpy(inner.bytes + inner.size, service, service->nla_len);
  inner.size += NLA_ALIGN(service->nla_len);
  EndMessage(&inner);
}

static void Read(int services, int servers) {
  struct Messages outer = {0};
  BeginMessage(&outer, family_id, NLM_F_DUMP, IPVS_CMD_GET_SERVICE);
  EndMessage(&outer);

  const int64_t start = NowMicroseconds();
  const size_t found = Dump(outer.bytes, outer.size, AppendInner);
  size_t found_servers = 0;
  for (size_t at = 0; at < inner.size;) {
    const struct nlmsghdr* request = (const struct nlmsghdr*)(inner.bytes + at);
    found_servers += Dump(request, request->nlmsg_len, NULL);
    at += NLMSG_ALIGN(request->nlmsg_len);
  }
  printf("%lld\n", (long long)(NowMicroseconds() - start));

  if (found != (size_t)services || found_servers != (size_t)services * servers) {
    Die("found %zu services and %zu servers", found, found_servers);
  }
}

static void Edit(int services, int servers, int repeats) {
  for (int i = 0; i < repeats; ++i) {
    const int service = i % services;
    struct Messages get = {0};
    BeginMessage(&get, family_id, NLM_F_DUMP, IPVS_CMD_GET_DEST);
    PutService(&get, service, 0);
    EndMessage(&get);
    struct Messages set = {0};
    BeginMessage(&set, family_id, NLM_F_ACK, IPVS_CMD_SET_DEST);
    PutService(&set, service, 0);
    PutServer(&set, service, 0, 1000 + i);
    EndMessage(&set);

    const int64_t start = NowMicroseconds();
    const size_t found = Dump(get.bytes, get.size, NULL);
    SendAndWait(set.bytes, set.size, sequence);
    printf("%lld\n", (long long)(NowMicroseconds() - start));

    if (found != (size_t)servers) Die("found %zu servers", found);
    free(get.bytes);
    free(set.bytes);
  }
}

int main(int argc, char** argv) {
  if (argc < 4) Die("usage: floor restore|read|edit SERVICES SERVERS [REPEATS]");
  const int services = atoi(argv[2]);
  const int servers = atoi(argv[3]);
  Open();
  if (strcmp(argv[1], "restore") == 0) {
    Restore(services, servers);
  } else if (strcmp(argv[1], "read") == 0) {
    Read(services, servers);
  } else if (strcmp(argv[1], "edit") == 0 && argc > 4) {
    Edit(services, servers, atoi(argv[4]));
  } else {
    Die("no such work: %s", argv[1]);
  }
  return 0;
}
