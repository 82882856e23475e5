"""A small FTP server, and a client that fetches from it: `ftp.py serve NAME`, `ftp.py get ADDRESS passive|active [SECONDS]`."""

import ftplib
import socket
import sys
import threading

USAGE = {"USER": "331 password?", "PASS": "230 welcome", "TYPE": "200 as you like"}


def serve(name):
    with socket.create_server(("::", 21), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        print("listening", flush=True)
        while True:
            threading.Thread(target=talk, args=(listener.accept()[0], name), daemon=True).start()


def talk(control, name):
    """One client. The data come by a connection that it makes (PASV, EPSV) or that this makes from port 20 (PORT, EPRT)."""
    lines = control.makefile("rw", newline="\r\n")
    # An IPv4 address has a socket of IPv4, whatever the listener's is.
    own = control.getsockname()[0].removeprefix("::ffff:")
    family = socket.AF_INET6 if ":" in own else socket.AF_INET

    def reply(text):
        lines.write(text + "\n")
        lines.flush()

    def listen():
        return socket.create_server((own, 0), family=family)

    def from_port_20(address, port):
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((own, 20))
        sock.connect((address, port))
        return sock

    reply("220 hello")
    passive = target = None
    for line in lines:
        verb, _, rest = line.strip().partition(" ")
        if verb in USAGE:
            reply(USAGE[verb])
        elif verb == "PASV":
            passive = listen()
            port = passive.getsockname()[1]
            address = own.replace(".", ",")
            reply(f"227 Entering Passive Mode ({address},{port // 256},{port % 256})")
        elif verb == "EPSV":
            passive = listen()
            reply(f"229 Entering Extended Passive Mode (|||{passive.getsockname()[1]}|)")
        elif verb == "PORT":
            numbers = rest.split(",")
            target = (".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5]))
            reply("200 as you like")
        elif verb == "EPRT":
            _, _, address, port, _ = rest.split("|")
            target = (address, int(port))
            reply("200 as you like")
        elif verb == "RETR":
            reply("150 it comes")
            data = passive.accept()[0] if passive else from_port_20(*target)
            client = data.getpeername()[0]
            data.sendall(f"{name}, for {client}\n".encode() + b"x" * 100_000)
            data.close()
            reply("226 that was it")
        elif verb == "QUIT":
            reply("221 goodbye")
            break
        else:
            reply("500 what?")
    control.close()


def get(address, way, seconds="60"):
    ftp = ftplib.FTP(timeout=float(seconds))
    # As old clients do: the data come from where the server says.
    ftp.trust_server_pasv_ipv4_address = True
    ftp.connect(address)
    ftp.login("anybody", "anything")
    ftp.set_pasv(way == "passive")
    pieces = []
    ftp.retrbinary("RETR file", pieces.append)
    ftp.quit()
    first, _, rest = b"".join(pieces).partition(b"\n")
    print(first.decode(), len(rest), flush=True)


{"serve": serve, "get": get}[sys.argv[1]](*sys.argv[2:])
