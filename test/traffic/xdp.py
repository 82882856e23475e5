"""Attaches a program of XDP to an interface that drops every packet: `xdp.py INTERFACE`. There is no compiler in the guest."""

import ctypes
import os
import socket
import struct
import sys

# Of linux/bpf.h, linux/if_link.h, linux/rtnetlink.h; the number is that of x86-64.
SYS_BPF, BPF_PROG_LOAD, BPF_PROG_TYPE_XDP, XDP_DROP = 321, 5, 6, 1
RTM_SETLINK, NLM_F_REQUEST, NLM_F_ACK, NLM_F_NESTED = 19, 1, 4, 0x8000
IFLA_XDP, IFLA_XDP_FD, IFLA_XDP_FLAGS, XDP_FLAGS_SKB_MODE = 43, 1, 3, 2


def load():
    # r0 = XDP_DROP; exit
    code = struct.pack("<BBhi", 0xB7, 0, 0, XDP_DROP) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    code_buffer, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "<IIQQ", BPF_PROG_TYPE_XDP, len(code) // 8, ctypes.addressof(code_buffer), ctypes.addressof(licence)
    ).ljust(64, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(SYS_BPF, BPF_PROG_LOAD, attributes, len(attributes))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "bpf: " + os.strerror(ctypes.get_errno()))
    return fd


def attribute(kind, payload):
    return struct.pack("<HH", 4 + len(payload), kind) + payload


def attach(interface, fd):
    xdp = attribute(IFLA_XDP_FD, struct.pack("<i", fd)) + attribute(
        IFLA_XDP_FLAGS, struct.pack("<I", XDP_FLAGS_SKB_MODE)
    )
    link = struct.pack("<BxHiII", 0, 0, socket.if_nametoindex(interface), 0, 0)
    body = link + attribute(IFLA_XDP | NLM_F_NESTED, xdp)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        header = struct.pack("<IHHII", 16 + len(body), RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
        netlink.send(header + body)
        (error,) = struct.unpack_from("<i", netlink.recv(4096), 16)
        if error != 0:
            raise OSError(-error, "netlink: " + os.strerror(-error))


attach(sys.argv[1], load())
