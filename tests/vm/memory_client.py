# SPDX-License-Identifier: Apache-2.0
"""A vfio-user client that has memory and nothing else: it stands where QEMU stands, for tests of what reaches a VM's memory.
Written from the protocol's description; shares nothing with src/root."""

import json
import mmap
import os
import socket
import struct
import threading

from farbus_vm import check

VERSION, DMA_MAP, DMA_UNMAP, DMA_READ, DMA_WRITE = 1, 2, 3, 11, 12
HEADER = struct.Struct("<HHIII")
REPLY, ERROR = 1, 0x20


class MemoryClient:
    """regions: {address: size}; each is a memory file that is mapped here, too: client[address] is its mmap.

    with_fd False: the root gets no descriptor, and a thread answers its DMA_READ and DMA_WRITE messages (counted in
    .served; while .hold is set they are kept and not answered)."""

    def __init__(self, t, path, regions, with_fd=True, writable=True):
        self.with_fd = with_fd
        self.maps = {}
        self.served = 0
        self.hold = threading.Event()
        self.kept = []
        self._id = 0
        self._lock = threading.Lock()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(path))
        t.defer(self.close)
        capabilities = json.dumps({"capabilities": {"max_msg_fds": 1}}).encode() + b"\0"
        self._call(VERSION, struct.pack("<HH", 0, 1) + capabilities)
        self._thread = None
        if not with_fd:
            self._replies = []
            self._arrived = threading.Condition()
            self._thread = threading.Thread(target=self._serve, daemon=True)
            self._thread.start()
        for address, size in regions.items():
            self.map(address, size, writable)

    def __getitem__(self, address):
        return self.maps[address]

    def map(self, address, size, writable=True):
        fd = os.memfd_create("guest")
        os.ftruncate(fd, size)
        self.maps[address] = mmap.mmap(fd, size)
        body = struct.pack("<IIQQQ", 32, 3 if writable else 1, 0, address, size)
        self._call(DMA_MAP, body, [fd] if self.with_fd else [])
        os.close(fd)

    def unmap(self, address):
        self._call(DMA_UNMAP, struct.pack("<IIQQ", 24, 0, address, len(self.maps.pop(address))))

    def close(self):
        """As QEMU goes when it is killed."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def release(self):
        """Answers what was kept."""
        self.hold.clear()
        with self._lock:
            kept, self.kept = self.kept, []
        for message in kept:
            self._answer(*message)

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _message(self):
        number, command, size, flags, _ = HEADER.unpack(self._exactly(HEADER.size))
        return number, command, flags, self._exactly(size - HEADER.size)

    def _call(self, command, body, fds=()):
        self._id += 1
        data = HEADER.pack(self._id, command, HEADER.size + len(body), 0, 0) + body
        with self._lock:
            socket.send_fds(self.sock, [data], list(fds))
        if getattr(self, "_thread", None):
            with self._arrived:
                check(self._arrived.wait_for(lambda: self._replies, 20), f"no reply to command {command}")
                flags = self._replies.pop(0)
        else:
            _, _, flags, _ = self._message()
        check(flags & 0xF == REPLY and not flags & ERROR, f"command {command} was refused")

    def _serve(self):
        try:
            while True:
                number, command, flags, body = self._message()
                if flags & 0xF == REPLY:
                    with self._arrived:
                        self._replies.append(flags)
                        self._arrived.notify()
                elif self.hold.is_set():
                    with self._lock:
                        self.kept.append((number, command, body))
                else:
                    self._answer(number, command, body)
        except (OSError, EOFError):
            pass

    def _answer(self, number, command, body):
        address, count = struct.unpack_from("<QQ", body)
        self.served += 1
        for start, memory in self.maps.items():
            if start <= address and address + count <= start + len(memory):
                break
        else:
            memory = None
        reply, flags = body[:16], REPLY
        if memory is None and count:
            reply, flags = b"", REPLY | ERROR
        elif command == DMA_READ:
            reply += memory[address - start:address - start + count]
        elif count:
            memory[address - start:address - start + count] = body[16:16 + count]
        with self._lock:
            self.sock.sendall(HEADER.pack(number, command, HEADER.size + len(reply), flags, 5 if flags & ERROR else 0) + reply)
