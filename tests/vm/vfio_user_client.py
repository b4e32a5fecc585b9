# SPDX-License-Identifier: Apache-2.0
"""A vfio-user client in Python: it stands where QEMU stands, with memory of its own as the guest's, for tests that need
no guest. Written from the protocol's description; all integers are in the host's order."""

import array
import mmap
import os
import socket
import struct

from farbus_vm import PATIENCE, check

VERSION, DMA_MAP, DMA_UNMAP, REGION_INFO, SET_IRQS, READ, WRITE, RESET = 1, 2, 3, 5, 8, 9, 10, 13
CONFIG = 7  # the region of configuration space
MSI, MSIX = 1, 2


class Client:
    def __init__(self, t, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20 * PATIENCE)
        self.sock.connect(str(path))
        self.number = 0
        t.defer(self.close)
        self.call(VERSION, struct.pack("<HH", 0, 0) + b'{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576}}\0')

    def close(self):
        self.sock.close()

    def _receive(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            check(more, "the root closed the socket")
            data += more
        return data

    def send(self, command, body, flags=0, fd=None):
        self.number = self.number + 1 & 0xFFFF
        message = struct.pack("<HHIII", self.number, command, 16 + len(body), flags, 0) + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd is not None else []
        check(self.sock.sendmsg([message], rights) == len(message), "a short send")

    def call(self, command, body, fd=None):
        self.send(command, body, fd=fd)
        number, what, size, flags, error = struct.unpack("<HHIII", self._receive(16))
        check((number, what) == (self.number, command) and flags & 1, f"the reply is to {what} number {number}")
        body = self._receive(size - 16)
        check(not flags & 0x20, f"command {command}: {os.strerror(error)}")
        return body

    def read(self, region, offset, size):
        return self.call(READ, struct.pack("<QII", offset, region, size))[16:]

    def write(self, region, offset, data, posted=True):
        body = struct.pack("<QII", offset, region, len(data)) + data
        if posted:
            self.send(WRITE, body, flags=0x10)
        else:
            self.call(WRITE, body)

    def memory(self, address, size):
        """Maps so much memory of ours at that bus address; returns it."""
        fd = os.memfd_create("guest")
        os.ftruncate(fd, size)
        self.call(DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, address, size), fd)
        memory = mmap.mmap(fd, size)
        os.close(fd)
        return memory

    def irq(self, index, vector):
        """An eventfd that is signalled when the vector fires."""
        fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.call(SET_IRQS, struct.pack("<IIIII", 20, 0x24, index, vector, 1), fd)
        return fd

    def config_write(self, offset, value, size=4):
        self.write(CONFIG, offset, value.to_bytes(size, "little"), posted=False)

    def config_read(self, offset, size=4):
        return int.from_bytes(self.read(CONFIG, offset, size), "little")

    def enable(self, bars):
        """Places BARs ({index: address}) and switches memory and bus mastering on."""
        for index, address in bars.items():
            self.config_write(0x10 + 4 * index, address & 0xFFFFFFFF)
            if address >> 32 or self.config_read(0x10 + 4 * index) & 4:
                self.config_write(0x14 + 4 * index, address >> 32)
        self.config_write(4, 6, 2)
