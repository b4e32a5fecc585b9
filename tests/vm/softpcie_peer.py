# SPDX-License-Identifier: Apache-2.0
"""SoftPCIe / NetTLP in Python: the software on the other side of an adapter, and, for the device role, the adapter.

Written from the description of the wire format alone; it shares nothing with src/softpcie and src/tlp, so that what both
sides agree on is the format and not a mistake. Sockets are bound and connected port by port, as libtlp does it."""

import collections
import contextlib
import ctypes
import os
import select
import socket
import struct
import time

from farbus_vm import PATIENCE, Failure, check

DEVICE, HOST, MESSAGE, CONFIG_OLD, CONFIG, REGISTER = 0x3000, 0x4000, 0x2FFF, 0x4001, 0x5001, 0x5002
SC, UR, CRS, CA = 0, 1, 2, 4
MRD3, MRD4, MWR3, MWR4, CPL, CPLD = 0x00, 0x20, 0x40, 0x60, 0x0A, 0x4A
TICK_HZ = 156_250_000

Request = collections.namedtuple("Request", "write address length data requester tag first_be last_be")
Completion = collections.namedtuple("Completion", "status byte_count lower_address completer requester tag data")


@contextlib.contextmanager
def in_namespace(name):
    """Sockets made inside are in that network namespace (None: ours)."""
    if name is None:
        yield
        return
    setns = ctypes.CDLL(None, use_errno=True).setns
    home, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        check(setns(there, 0x40000000) == 0, f"setns to {name}: {os.strerror(ctypes.get_errno())}")
        yield
    finally:
        setns(home, 0x40000000)
        os.close(home)
        os.close(there)


# --- TLPs -----------------------------------------------------------------------------------------------------------

def byte_enables(address, length):
    """(first BE, last BE, length in DW) of the bytes from address on."""
    dws = ((address & 3) + length + 3) // 4 or 1
    first, last = 0xF << (address & 3) & 0xF, 0xF >> (-(address + length) % 4)
    if length == 0:
        return 0, 0, 1
    return (first & last, 0, 1) if dws == 1 else (first, last, dws)


def request(write, address, data_or_length, requester=0x0100, tag=0, be=None):
    """MRd (of so many bytes) or MWr (of these bytes)."""
    length = len(data_or_length) if write else data_or_length
    first, last, dws = byte_enables(address, length)
    if be:
        first, last = be
    wide = address >= 1 << 32
    fmt = (MWR4 if wide else MWR3) if write else (MRD4 if wide else MRD3)
    head = struct.pack(">BBHHBB", fmt, 0, dws & 0x3FF, requester, tag, last << 4 | first)
    head += struct.pack(">Q" if wide else ">I", address & ~3)
    if not write:
        return head
    return head + (bytes(address & 3) + data_or_length).ljust(4 * dws, b"\0")


def completion(status, byte_count, lower_address, requester, tag, data=None, completer=0):
    body = b"" if data is None else (bytes(lower_address & 3) + data)
    body += bytes(-len(body) % 4)
    return struct.pack(">BBHHHHBB", CPL if data is None else CPLD, 0, len(body) // 4 & 0x3FF, completer,
                       status << 13 | byte_count & 0xFFF, requester, tag, lower_address & 0x7F) + body


def parse(tlp):
    """A Request or a Completion; lengths are checked against the bytes."""
    kind, _, word = struct.unpack_from(">BBH", tlp)
    dws = word & 0x3FF or 1024
    if kind in (CPL, CPLD):
        _, _, _, completer, status, requester, tag, lower = struct.unpack_from(">BBHHHHBB", tlp)
        data = tlp[12:]
        check(len(data) == (4 * dws if kind == CPLD else 0), f"a completion of {len(tlp)} bytes says {dws} DW")
        count = status & 0xFFF or 4096
        skip = lower & 3
        return Completion(status >> 13, count, lower, completer, requester, tag,
                          data[skip:skip + count] if kind == CPLD else None)
    check(kind in (MRD3, MRD4, MWR3, MWR4), f"TLP of Fmt/Type {kind:#x}")
    requester, tag, be = struct.unpack_from(">HBB", tlp, 4)
    wide = bool(kind & 0x20)
    address = struct.unpack_from(">Q" if wide else ">I", tlp, 8)[0]
    check(not wide or address >= 1 << 32, "a 4 DW header for an address below 4 GiB")
    data = tlp[16 if wide else 12:]
    check(len(data) == (4 * dws if kind & 0x40 else 0), f"a request of {len(tlp)} bytes says {dws} DW")
    return Request(bool(kind & 0x40), address, dws, data, requester, tag, be & 15, be >> 4)


def span(r):
    """(address, length) of the enabled bytes of a request, first to last."""
    if not r.first_be:
        return r.address, 0
    start = (r.first_be & -r.first_be).bit_length() - 1
    end = 4 * (r.length - 1) + (r.last_be if r.length > 1 else r.first_be).bit_length()
    return r.address + start, end - start


# --- the ends -------------------------------------------------------------------------------------------------------

class End:
    """One end: sockets by port, numbered datagrams."""

    def __init__(self, t, local, remote, ns=None, numbered=True):
        self.local, self.remote, self.ns, self.numbered = local, remote, ns, numbered
        self.sockets, self.sequence, self.stamps = {}, 0, []
        t.defer(self.close)

    def close(self):
        for sock in self.sockets.values():
            sock.close()
        self.sockets.clear()

    def port(self, number):
        if number not in self.sockets:
            with in_namespace(self.ns):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((self.local, number))
            sock.connect((self.remote, number))
            self.sockets[number] = sock
        return self.sockets[number]

    def ask(self, port, data, timeout=5, size=None):
        """Sends a datagram without header from any port of ours; the answer, or None."""
        with in_namespace(self.ns), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((self.local, 0))
            sock.connect((self.remote, port))
            sock.settimeout(timeout * PATIENCE)
            sock.send(data)
            try:
                answer = sock.recv(65535)
            except TimeoutError:
                return None
        check(size is None or len(answer) == size, f"an answer of {len(answer)} bytes, not {size}")
        return answer

    def frame(self, tlp):
        if not self.numbered:
            return bytes(6) + tlp
        self.sequence = self.sequence + 1 & 0xFFFF
        return struct.pack(">HI", self.sequence, time.monotonic_ns() * TICK_HZ // 10**9 & 0xFFFFFFFF) + tlp

    def send(self, port, tlp):
        self.port(port).send(self.frame(tlp))

    def receive(self, ports, timeout=5):
        """(port, TLP) of the next datagram on one of the ports; None when there is none in time."""
        sockets = {self.port(number): number for number in ports}
        ready = select.select(list(sockets), [], [], timeout * PATIENCE)[0]
        if not ready:
            return None
        data = ready[0].recv(65535)
        check(len(data) >= 18, f"a datagram of {len(data)} bytes")
        self.stamps.append(struct.unpack_from(">HI", data))
        return sockets[ready[0]], data[6:]


class Peer(End):
    """The software: reads and writes the host's memory, and answers the host."""

    requester = 0x0100

    def message(self, kind, timeout=5):
        answer = self.ask(MESSAGE, struct.pack("<i", kind), timeout)
        if answer is None:
            return None
        if kind == 3:
            return [struct.unpack_from("<QI", answer, 12 * n) for n in range(len(answer) // 12)]
        return int.from_bytes(answer, "little")

    def config_read(self, reg, port=CONFIG, timeout=5):
        head = struct.pack(">H", 15 << 10 | reg // 4)
        self.port(port).send(head + bytes(4))
        ready = select.select([self.port(port)], [], [], timeout * PATIENCE)[0]
        if not ready:
            return None
        answer = self.port(port).recv(100)
        check(answer[:2] == head, f"the answer is to another question: {answer.hex()}")
        return int.from_bytes(answer[2:6], "big")

    def config_write(self, reg, value, be=15):
        self.port(CONFIG).send(struct.pack(">HI", 1 << 14 | be << 10 | reg // 4, value))

    def write(self, address, data, tag=0, be=None):
        self.send(DEVICE + tag, request(True, address, data, self.requester, tag, be))

    def read(self, address, length, tag=0, timeout=5):
        """(status, data, number of completions)"""
        self.send(DEVICE + tag, request(False, address, length, self.requester, tag))
        return self.collect(address, length, tag, timeout)

    def collect(self, address, length, tag=0, timeout=5):
        data, pieces = b"", 0
        while True:
            got = self.receive([DEVICE + tag], timeout)
            if not got:
                raise Failure(f"no completion for the read of {length} bytes at {address:#x}")
            c = parse(got[1])
            pieces += 1
            check((c.tag, c.requester) == (tag, self.requester), f"a completion for tag {c.tag} of {c.requester:#x}")
            if c.status != SC:
                return c.status, data, pieces
            check(c.byte_count == (length - len(data) or 1), f"Byte Count {c.byte_count}, {length - len(data)} bytes left")
            check(c.lower_address == (address + len(data)) & 0x7F, f"Lower Address {c.lower_address:#x}")
            data += c.data[:length - len(data)]
            if len(data) == length:
                return SC, data, pieces
            check((address + len(data)) % 64 == 0, f"a completion ends at {address + len(data):#x}: not on RCB")

    def host_request(self, timeout=5, ports=range(HOST, HOST + 16)):
        """(port, Request) of the host, or None."""
        got = self.receive(ports, timeout)
        return (got[0], parse(got[1])) if got else None

    def answer(self, port, r, data, status=SC):
        """One completion with these bytes for a read of the host."""
        address, length = span(r)
        self.send(port, completion(status, length, address, r.requester, r.tag, data))


class Adapter(End):
    """The adapter, for farbus in the device role: the host's requests go out, requests of the device become accesses of
    `memory` (at `base`), and what the message API and configuration access say is in the members. pump() does what has
    come; every waiting call pumps."""

    def __init__(self, t, local, remote, ns=None, bar4=0xF2000000, base=0x10000000, size=1 << 20):
        super().__init__(t, local, remote, ns)
        self.bar4, self.id, self.command, self.vectors = bar4, 0x0300, 6, [(0, 0)] * 16
        self.base, self.memory = base, bytearray(size)
        self.interrupts, self.completions, self.reads, self.writes, self.next_tag = [], [], 0, 0, 0
        self.lose = lambda port, tlp: False  # says what gets lost on its way to the device
        self.answering = True
        for port in [*range(DEVICE, DEVICE + 256), *range(HOST, HOST + 16)]:
            self.port(port)
        for port in (MESSAGE, CONFIG):  # asked from any port
            with in_namespace(ns):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((local, port))
            self.sockets[port] = sock

    def send(self, port, tlp):
        frame = self.frame(tlp)
        if not self.lose(port, tlp):
            self.port(port).send(frame)

    def _service(self, port, data, peer):
        answer = None
        if port == MESSAGE and len(data) == 4:
            kind = struct.unpack("<i", data)[0]
            answer = {1: struct.pack("<Q", self.bar4), 2: struct.pack("<H", self.id),
                      3: b"".join(struct.pack("<QI", *v) for v in self.vectors)}.get(kind)
        elif port == CONFIG and len(data) == 6:
            register = int.from_bytes(data[:2], "big") % 1024 * 4
            value = {0: 0x80223776, 4: self.command}.get(register, 0)
            answer = data[:2] + struct.pack(">I", value) + bytes(12)  # padded, as the hardware does it
        if answer and self.answering:
            self.sockets[port].sendto(answer, peer)

    def _dma(self, port, r):
        address, length = span(r)
        inside = self.base <= address and address + length <= self.base + len(self.memory)
        at = address - self.base
        if r.write:
            self.writes += 1
            data = r.data[address & 3:][:length]
            if inside:
                self.memory[at:at + length] = data
            else:
                self.interrupts.append((address, struct.unpack("<I", data)[0]))
            return
        self.reads += 1
        if not inside:
            self.send(port, completion(UR, length, address, r.requester, r.tag))
            return
        done = 0
        while done < length:
            piece = min(length - done, 128 - (address + done) % 128)
            self.send(port, completion(SC, length - done, address + done, r.requester, r.tag,
                                       bytes(self.memory[at + done:at + done + piece])))
            done += piece

    def pump(self, timeout=0.0):
        """Does what has come; completions for the host are kept."""
        ports = {sock: port for port, sock in self.sockets.items()}
        for sock in select.select(list(ports), [], [], timeout)[0]:
            data, peer = sock.recvfrom(65535)
            if ports[sock] in (MESSAGE, CONFIG):
                self._service(ports[sock], data, peer)
                continue
            if ports[sock] == CONFIG_OLD and len(data) == 6:
                continue  # of the older adapters; this one has the newer port
            self.stamps.append(struct.unpack_from(">HI", data))
            tlp = parse(data[6:])
            if isinstance(tlp, Completion):
                self.completions.append(tlp)
            else:
                check(ports[sock] == DEVICE + tlp.tag, f"a request with tag {tlp.tag} on port {ports[sock]:#x}")
                self._dma(ports[sock], tlp)

    def until(self, condition, what, timeout=10):
        deadline = time.monotonic() + timeout * PATIENCE
        while not condition():
            check(time.monotonic() < deadline, f"not in time: {what}")
            self.pump(0.02)

    def write(self, offset, value, size=4):
        self.send(HOST, request(True, self.bar4 + offset, value.to_bytes(size, "little"), 0, 0))

    def read(self, offset, size=4, timeout=5):
        """The register's value; None for UR."""
        tag = self.next_tag = (self.next_tag + 1) % 16
        self.send(HOST + tag, request(False, self.bar4 + offset, size, 0, tag))
        self.until(lambda: self.completions, f"a completion for the host's read at {offset:#x}", timeout)
        c = self.completions.pop(0)
        check(c.tag == tag and c.requester == 0, f"a completion for tag {c.tag}")
        return int.from_bytes(c.data, "little") if c.status == SC else None
