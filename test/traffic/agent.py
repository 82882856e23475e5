"""Servers and clients in any network namespace, in one process, as the lines of JSON on standard input say.

A server answers each line, or datagram, with a line of JSON: its name, the client's address and port as it sees
them, what was said, cut, and how many bytes that were. A line `want N` is answered with N more bytes. A line that
begins with GET is answered as HTTP.
"""

import ctypes
import json
import os
import selectors
import socket
import struct
import sys
import threading

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
GUE_PORT = 6080
KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
libc = ctypes.CDLL(None, use_errno=True)
writing = threading.Lock()
conversations = {}
captures = {}
selector = selectors.DefaultSelector()
server_names = {}
listening = {}
watched = {}


def enter(netns):
    """The thread that calls this stays in the network namespace, and so do its sockets."""
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(fd)


def open_socket(netns, protocol, address):
    enter(netns)
    kind, number = KINDS[protocol]
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, number)


def plain(address):
    return address.removeprefix("::ffff:")


def serve(netns, protocol, address, port, name):
    sock = open_socket(netns, protocol, address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if address == "::":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((address, port))
    sock.setblocking(False)
    server_names[sock] = name
    if protocol == "udp":
        selector.register(sock, selectors.EVENT_READ, answer_datagram)
    else:
        sock.listen(1024)
        selector.register(sock, selectors.EVENT_READ, accept)
    listening.setdefault((netns, name), []).append(sock)
    return {"port": sock.getsockname()[1]}


def stop(netns, name):
    """Ends the servers of a name; connections that they have stay."""
    for sock in listening.pop((netns, name), []):
        selector.unregister(sock)
        sock.close()
    return {}


def accept(sock):
    connection, _ = sock.accept()
    connection.setblocking(False)
    server_names[connection] = server_names[sock]
    received = bytearray()
    selector.register(connection, selectors.EVENT_READ, lambda one: answer_lines(one, received))


def answer_lines(connection, received):
    try:
        piece = connection.recv(65536)
    except OSError:
        piece = b""
    received += piece
    while b"\n" in received:
        line, _, rest = bytes(received).partition(b"\n")
        received[:] = rest
        peer = connection.getpeername()
        if line.startswith(b"GET "):
            body = f"{server_names[connection]}, for {plain(peer[0])}\n"
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            deliver(connection, (head + body).encode())
            received[:] = b""
            # What is left of the request is read, or closing would reset the connection.
            connection.shutdown(socket.SHUT_WR)
        else:
            deliver(connection, answer(connection, peer, line))
    if not piece:
        selector.unregister(connection)
        del server_names[connection]
        connection.close()


def deliver(connection, data):
    try:
        connection.settimeout(30)
        connection.sendall(data)
        connection.setblocking(False)
    except OSError:
        pass


def answer_datagram(sock):
    try:
        said, peer = sock.recvfrom(65536)
        sock.sendto(answer(sock, peer, said.rstrip(b"\n")), peer)
    except OSError:
        pass


def answer(sock, peer, said):
    told = {
        "server": server_names[sock],
        "address": plain(peer[0]),
        "port": peer[1],
        "said": said[:100].decode(errors="replace"),
        "bytes": len(said),
    }
    if said.startswith(b"want "):
        told["more"] = "x" * int(said[5:])
    return json.dumps(told).encode() + b"\n"


def watch(netns):
    """Notes from now on which packets reach a host by its cables, each kind once, in the order of the first."""
    enter(netns)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    sock.setblocking(False)
    watched[netns] = []
    selector.register(sock, selectors.EVENT_READ, lambda one: note(one, watched[netns]))
    return {}


def note(sock, kinds):
    packet, (interface, _, direction, _, _) = sock.recvfrom(200)
    if direction == socket.PACKET_HOST and interface.startswith("eth"):
        kind = describe(packet)
        if kind and kind not in kinds:
            kinds.append(kind)


def seen(netns):
    return {"packets": watched[netns]}


def describe(packet):
    """From where to where a packet goes, and what is around it if it comes through a tunnel. None: of no interest."""
    if packet[0] >> 4 == 4:
        protocol, begin = packet[9], (packet[0] & 15) * 4
        family, addresses = socket.AF_INET, (packet[12:16], packet[16:20])
    else:
        protocol, begin = packet[6], 40
        family, addresses = socket.AF_INET6, (packet[8:24], packet[24:40])
        while protocol in (0, 43, 44, 60):
            protocol, begin = packet[begin], begin + (8 if protocol == 44 else 8 + packet[begin + 1] * 8)
    source, destination = (socket.inet_ntop(family, address) for address in addresses)
    rest = packet[begin:]
    tunnel = None
    if protocol in (4, 41):
        tunnel = ("ipip", 0)
    elif protocol == 47:
        tunnel = ("gre", 8 if rest[0] & 0x80 else 4)
    elif protocol == socket.IPPROTO_UDP and struct.unpack("!H", rest[2:4])[0] == GUE_PORT:
        tunnel = ("gue", 12 + (rest[8] & 31) * 4)
    if tunnel:
        inner = describe(rest[tunnel[1] :])
        return inner and {**inner, "outer": {"tunnel": tunnel[0], "source": source, "destination": destination}}
    for name, (_, number) in KINDS.items():
        if number == protocol:
            ports = struct.unpack("!HH", rest[:4])
            form = "[{}]:{}" if family == socket.AF_INET6 else "{}:{}"
            return {
                "protocol": name,
                "source": form.format(source, ports[0]),
                "destination": form.format(destination, ports[1]),
            }
    return None


def run_servers():
    while True:
        for key, _ in selector.select(0.05):
            try:
                key.data(key.fileobj)
            except (OSError, KeyError, IndexError, struct.error):
                pass


def open_conversation(netns, protocol, address, port, within, source=None, source_port=0):
    sock = open_socket(netns, protocol, address)
    sock.settimeout(within)
    if source or source_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source or ("::" if ":" in address else "0.0.0.0"), source_port))
    try:
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def say(sock, protocol, text, within):
    sock.settimeout(within)
    sock.sendall(text.encode() + b"\n")
    received = b""
    while not received.endswith(b"\n"):
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionResetError(104, "the server ended the connection")
        received += piece
        if protocol == "udp":
            break
    # A line before it is the answer to something that was said in vain, and sent again.
    told = json.loads(received.splitlines()[-1])
    return {**told, "more": len(told.get("more", ""))}


def connect(identity, protocol, text, within, **where):
    sock = open_conversation(protocol=protocol, within=within, **where)
    try:
        told = say(sock, protocol, text, within)
    except BaseException:
        sock.close()
        raise
    conversations[identity] = (sock, protocol)
    return {"answer": told, "source_port": sock.getsockname()[1]}


def ask(count, protocol, text, within, sources, **where):
    """Conversations one after the other, each with a line and its answer."""
    answers = []
    for index in range(count):
        try:
            source = sources[index % len(sources)] if sources else None
            sock = open_conversation(protocol=protocol, within=within, source=source, **where)
            try:
                answers.append(say(sock, protocol, text, within))
            finally:
                sock.close()
        except (OSError, ValueError) as error:
            answers.append({"error": name_of(error)})
    return {"answers": answers}


def get(netns, address, port, within, source=None):
    sock = open_conversation(netns, "tcp", address, port, within, source)
    try:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        received = b""
        while piece := sock.recv(65536):
            received += piece
    finally:
        sock.close()
    return {"body": received.partition(b"\r\n\r\n")[2].decode()}


def speak(conversation, text, within):
    sock, protocol = conversations[conversation]
    return {"answer": say(sock, protocol, text, within)}


def close(conversation):
    conversations.pop(conversation)[0].close()
    return {}


def capture(identity, netns, interface):
    """Keeps what an interface sends and gets, from now on."""
    enter(netns)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    sock.bind((interface, ETH_P_ALL))
    sock.setblocking(False)
    captures[identity] = (sock, [])
    return {}


def captured(capture):
    """The datagrams and other packets of IP that it has kept."""
    sock, packets = captures[capture]
    while True:
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return {"packets": packets}
        version = data[0] >> 4 if data else 0
        if version == 4:
            ttl, protocol = data[8], data[9]
            addresses, payload = data[12:20], data[(data[0] & 15) * 4 :]
        elif version == 6:
            ttl, protocol = data[7], data[6]
            addresses, payload = data[8:40], data[40:]
        else:
            continue
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        half = len(addresses) // 2
        packets.append(
            {
                "protocol": protocol,
                "ttl": ttl,
                "source": socket.inet_ntop(family, addresses[:half]),
                "destination": socket.inet_ntop(family, addresses[half:]),
                "port": int.from_bytes(payload[2:4], "big") if protocol in (6, 17, 132) else 0,
            }
        )


DEEDS = {
    "serve": serve,
    "stop": stop,
    "connect": connect,
    "ask": ask,
    "get": get,
    "say": speak,
    "close": close,
    "capture": capture,
    "captured": captured,
    "watch": watch,
    "seen": seen,
}


def name_of(error):
    if isinstance(error, TimeoutError):
        return "ETIMEDOUT"
    if isinstance(error, OSError) and error.errno is not None:
        import errno

        return errno.errorcode.get(error.errno, str(error.errno))
    return repr(error)


def do(request):
    identity = request.pop("id")
    deed = request.pop("do")
    if deed in ("connect", "capture"):
        request["identity"] = identity
    try:
        result = DEEDS[deed](**request)
    except (OSError, ValueError) as error:
        result = {"error": name_of(error)}
    except Exception as error:
        result = {"error": repr(error)}
    with writing:
        print(json.dumps({"id": identity, **result}), flush=True)


threading.Thread(target=run_servers, daemon=True).start()
for line in sys.stdin:
    # In a thread of its own, which may enter a network namespace and wait.
    threading.Thread(target=do, args=(json.loads(line),), daemon=True).start()
