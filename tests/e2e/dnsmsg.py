# SPDX-License-Identifier: Apache-2.0
"""Domain name messages for tests: written without a library, so that nothing is normalised on the way."""

import socket
import struct

A, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT = 1, 5, 6, 12, 16, 28, 33, 41
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)


def put_name(text):
    out = b""
    for label in text.strip(".").split(".") if text.strip(".") else []:
        out += bytes([len(label)]) + label.encode("latin-1")
    return out + b"\0"


def query(name, kind=A, ident=0x1234, edns=0, flags=0x0100, dnssec=False):
    head = struct.pack(">HHHHHH", ident, flags, 1, 0, 0, 1 if edns else 0)
    opt = b"\0" + struct.pack(">HHIH", OPT, edns, 0x8000 if dnssec else 0, 0) if edns else b""
    return head + put_name(name) + struct.pack(">HH", kind, 1) + opt


def get_name(data, at):
    labels, end = [], None
    while True:
        n = data[at]
        if n >= 0xC0:
            end = end or at + 2
            at = (n & 0x3F) << 8 | data[at + 1]
            continue
        at += 1
        if n == 0:
            return ".".join(labels), end or at
        labels.append(data[at:at + n].decode("latin-1"))
        at += n


def data_of(data, kind, at, length):
    if kind == A:
        return socket.inet_ntop(socket.AF_INET, data[at:at + 4])
    if kind == AAAA:
        return socket.inet_ntop(socket.AF_INET6, data[at:at + 16])
    if kind in (CNAME, PTR):
        return get_name(data, at)[0]
    if kind == SRV:
        return struct.unpack_from(">HHH", data, at) + (get_name(data, at + 6)[0],)
    return data[at:at + length]


class Message:
    """An answer: rcode, flags, and (name, type, ttl, data) of each section."""

    def __init__(self, data):
        self.id, self.flags, questions, *counts = struct.unpack_from(">HHHHHH", data)
        self.bytes = len(data)
        self.rcode, self.cut, self.own = self.flags & 15, bool(self.flags & 0x200), bool(self.flags & 0x400)
        self.question, at = None, 12
        for _ in range(questions):
            name, at = get_name(data, at)
            self.question = (name, *struct.unpack_from(">HH", data, at))
            at += 4
        self.sections = []
        for count in counts:
            rows = []
            for _ in range(count):
                name, at = get_name(data, at)
                kind, _, ttl, length = struct.unpack_from(">HHIH", data, at)
                rows.append((name, kind, ttl, data_of(data, kind, at + 10, length)))
                at += 10 + length
            self.sections.append(rows)
        self.answers, self.authorities, self.additional = self.sections
        if at != len(data):
            raise ValueError("bytes behind the end")

    def data(self, kind=A):
        return [row[3] for row in self.answers if row[1] == kind]

    @property
    def edns(self):
        return any(row[1] == OPT for row in self.additional)


def answer(data, records=(), rcode=0, cut=False):
    """The answer to a query: records are (name, type, bytes)."""
    ident, flags = struct.unpack_from(">HH", data)
    _, at = get_name(data, 12)
    out = struct.pack(">HHHHHH", ident, 0x8080 | flags & 0x0110 | rcode | (0x200 if cut else 0), 1, len(records), 0, 0)
    out += data[12:at + 4]
    for name, kind, value in records:
        out += put_name(name) + struct.pack(">HHIH", kind, 1, 60, len(value)) + value
    return out


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ConnectionError("the stream ended")
        data += more
    return data


def read_stream(sock):
    return read_exactly(sock, struct.unpack(">H", read_exactly(sock, 2))[0])
