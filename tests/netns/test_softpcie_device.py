# SPDX-License-Identifier: Apache-2.0
"""The device role of SoftPCIe: an NVMe model of ours behind an adapter that is played by Python, which was written from the
description of the wire format alone; then behind our own adapter, over a network that loses datagrams."""

import os
import re
import struct

import softpcie_peer as sp
import vfio_user_client as vfio
from farbus_vm import Daemon, check, wait_for

TIMEOUT = 180

# NVMe, as far as a driver needs it to read a block.
CAP, CC, CSTS, AQA, ASQ, ACQ, DOORBELLS = 0x00, 0x14, 0x1C, 0x24, 0x28, 0x30, 0x1000
ADMIN_SQ, ADMIN_CQ, BUFFER = 0x1000, 0x2000, 0x10000
IDENTIFY = 0x06


def box(t, here, adapter, options="", ns=None, wait=True, args=()):
    return Daemon(t, "box", ["--softpcie", f"{adapter},local={here}{options}", "--device",
                             f"nvme,id=ssd0,file={t.disk('16M')},serial=SOFTPCIE0", *args], ns, wait)


def state(daemon):
    return daemon.ls()["functions"][0]["state"]


class Driver:
    """An NVMe driver of a few lines, on top of read(offset, size), write(offset, value, size) and the host's memory."""

    def __init__(self, read, write, memory, base, until):
        self.read, self.write, self.memory, self.base, self.until = read, write, memory, base, until
        self.tail = self.head = 0
        self.phase = 1

    def enable(self):
        self.memory[ADMIN_CQ:ADMIN_CQ + 256] = bytes(256)
        self.write(CC, 0)
        self.until(lambda: not self.read(CSTS) & 1, "the controller to be off")
        self.write(AQA, 15 << 16 | 15)
        self.write(ASQ, self.base + ADMIN_SQ, 8)
        self.write(ACQ, self.base + ADMIN_CQ, 8)
        self.write(CC, 6 << 16 | 4 << 20 | 1)
        self.until(lambda: self.read(CSTS) & 1, "the controller to be ready")

    def _entry(self):
        at = ADMIN_CQ + 16 * self.head
        return struct.unpack_from("<IIHHHH", self.memory, at)

    def identify(self):
        """The controller's serial number by an admin command."""
        self.memory[BUFFER:BUFFER + 4096] = bytes(4096)
        struct.pack_into("<BBHIQQQQIIIIII", self.memory, ADMIN_SQ + 64 * self.tail, IDENTIFY, 0, 100 + self.tail, 0, 0, 0,
                         self.base + BUFFER, 0, 1, 0, 0, 0, 0, 0)
        self.tail = (self.tail + 1) % 16
        self.write(DOORBELLS, self.tail)
        self.until(lambda: self._entry()[5] & 1 == self.phase, "a completion entry")
        check(self._entry()[5] >> 1 == 0, f"Identify ends with status {self._entry()[5] >> 1:#x}")
        self.head += 1
        if self.head == 16:
            self.head, self.phase = 0, 1 - self.phase
        self.write(DOORBELLS + 4, self.head)
        return bytes(self.memory[BUFFER + 4:BUFFER + 24]).decode().strip()


def test_nvme_behind_an_adapter(t):
    """Registers, DMA, interrupts of an NVMe model behind an adapter in Python; the host resets, moves, goes silent."""
    net = t.net()
    adapter = sp.Adapter(t, net.host.addr, net.iobox.addr, net.host.name)
    ssd = box(t, net.iobox.addr, net.host.addr, ns=net.iobox, args=["--hold", "1s"])
    adapter.until(lambda: state(ssd) == "in-use", "the drive to be behind the adapter")
    check(ssd.ls()["functions"][0]["bdf"] == "03:00.0", f"{ssd.ls()}")
    check(adapter.read(CAP, 8) & 0xFFFF == 4095, "CAP")
    check(adapter.read(1 << 20) is None, "a read behind the BAR")
    driver = Driver(adapter.read, adapter.write, adapter.memory, adapter.base, adapter.until)
    driver.enable()
    # Its interrupt is pending until the adapter has a vector for it, and comes then.
    check(driver.identify() == "SOFTPCIE0", "the serial number")
    check(not adapter.interrupts, "an interrupt without vector")
    adapter.vectors[0] = (0xFEE00000, 0x4041)
    adapter.until(lambda: adapter.interrupts == [(0xFEE00000, 0x4041)], "the pending interrupt")
    for number in range(20):
        check(driver.identify() == "SOFTPCIE0", "the serial number")
    adapter.until(lambda: len(adapter.interrupts) == 21, "an interrupt for each")
    # Completions that get lost: the device asks again, and nothing is wrong but time.
    lost = iter(range(1000))
    adapter.lose = lambda port, tlp: tlp[0] == sp.CPLD and port < sp.HOST and next(lost) % 3 == 0
    for number in range(5):
        check(driver.identify() == "SOFTPCIE0", "the serial number, on a network that loses")
    adapter.lose = lambda port, tlp: False
    stats = ssd.stats()["softpcie"]
    check(stats["read_retries"] > 0 and stats["read_timeouts"] == 0 and stats["rx_lost"] > 0, f"counted: {stats}")
    check("are lost" in ssd.process.text(), "the user is not told of what was lost")
    # All of them lost: the read ends with an error, not never.
    adapter.lose = lambda port, tlp: tlp[0] == sp.CPLD and port < sp.HOST
    before = adapter.reads
    driver.write(DOORBELLS, (driver.tail + 1) % 16)
    adapter.until(lambda: ssd.stats()["softpcie"]["read_timeouts"] == 1, "the read to be given up")
    adapter.until(lambda: adapter.reads >= before + 4, "four tries")  # the last ones may still lie in their sockets
    check(adapter.reads == before + 4, f"{adapter.reads - before} tries")
    adapter.lose = lambda port, tlp: False
    # The host resets, moves the window, switches bus mastering off; the adapter goes silent.
    adapter.command = 0
    adapter.until(lambda: state(ssd) == "free", "the drive to be reset")
    check(adapter.read(CAP, 8) is None, "a read without memory enable")
    adapter.command, adapter.bar4 = 6, 0x1F2000000
    check(adapter.read(CAP, 8), "a read before the box has heard that the window is open")
    adapter.until(lambda: state(ssd) == "in-use", "the drive to be back")
    driver = Driver(adapter.read, adapter.write, adapter.memory, adapter.base, adapter.until)
    check(not adapter.read(CSTS), "the controller was not reset")
    driver.enable()
    check(driver.identify() == "SOFTPCIE0", "the serial number after a reset")
    adapter.answering = False
    adapter.until(lambda: state(ssd) == "free", "the silent adapter to be given up")
    adapter.answering = True
    adapter.until(lambda: state(ssd) == "in-use", "the drive to be back again")
    # Time stamps are of the clock that is documented, and numbers go up one by one.
    numbers = [number for number, _ in adapter.stamps]
    check(set(range(1, 200)) <= set(numbers), "sequence numbers have gaps")


def test_bad_input_to_the_device(t):
    """Bad input: what an adapter should not send is counted and dropped; strangers are not answered."""
    here, there = f"127.79.{os.getpid() % 250}.1", f"127.79.{os.getpid() % 250}.2"
    adapter = sp.Adapter(t, here, there)
    ssd = box(t, there, here)
    adapter.until(lambda: state(ssd) == "in-use", "the drive to be behind the adapter")
    port = adapter.port(sp.HOST + 1)
    port.send(b"\0" * 5)
    port.send(adapter.frame(sp.request(False, adapter.bar4, 4, 0, 2)))               # another tag than the port's
    port.send(adapter.frame(sp.request(False, adapter.bar4 - 4096, 4, 0, 1)))        # before the window
    port.send(adapter.frame(sp.request(True, adapter.bar4 + (1 << 30), b"1234", 0, 1)))
    port.send(adapter.frame(bytes.fromhex("040000010000010f00000000")))              # CfgRd0
    port.send(adapter.frame(sp.completion(sp.SC, 64, 0, 0x0300, 1, bytes(64))))      # for nobody
    adapter.port(sp.DEVICE + 9).send(adapter.frame(sp.completion(sp.UR, 4, 0, 0x0300, 9)))
    adapter.until(lambda: adapter.completions, "the answer to the read outside of the window")
    check(adapter.completions.pop().status == sp.UR, "the status of a read outside of the window")
    adapter.until(lambda: ssd.stats()["softpcie"]["unexpected_completions"] == 2, "completions for nobody")
    seen = ssd.stats()["softpcie"]
    expected = {"rx_short": 1, "rx_wrong_port": 1, "rx_not_carried": 1, "host_outside": 2}
    check(all(seen[key] == value for key, value in expected.items()), f"counted: {seen}")
    check(adapter.read(CAP, 8) & 0xFFFF == 4095, "the drive does not answer any more")


def test_both_roles(t):
    """Our drive behind our adapter: a driver's work, the drive killed and back, and a clean end on both sides."""
    net = t.net()
    root = t.root(net, connect=[], args=["--softpcie", f"{net.host.addr},peer={net.iobox.addr},window-bar=0,bar4=64K,"
                                         "class=0x010802"])
    client = vfio.Client(t, root.socket("softpcie0"))
    memory = client.memory(0x10000000, 1 << 20)
    client.enable({0: 0x1F2000000, 2: 0xF1000000, 4: 0xF0000000})
    ssd = box(t, net.iobox.addr, net.host.addr, ns=net.iobox)
    wait_for(lambda: state(ssd) == "in-use", 20, "the drive to be behind the adapter")

    def write(offset, value, size=4):
        client.write(0, offset, value.to_bytes(size, "little"))

    def read(offset, size=4):
        return int.from_bytes(client.read(0, offset, size), "little")

    driver = Driver(read, write, memory, 0x10000000, lambda condition, what: wait_for(condition, 20, what))
    driver.enable()
    event = client.irq(vfio.MSIX, 0)
    for number in range(40):
        check(driver.identify() == "SOFTPCIE0", "the serial number")
    wait_for(lambda: os.read(event, 8) if _readable(event) else None, 10, "an interrupt")
    counts = root.stats()["embedded_box"]["functions"][0]["model"]
    check(counts["host_timeouts"] == counts["rx_lost"] == counts["peer_failed"] == 0, f"counted: {counts}")
    # A drive that is killed: the guest's reads are all ones; one that comes back is fresh.
    ssd.kill()
    check(read(CAP, 8) == (1 << 64) - 1, "a read without a device is not all ones")
    ssd = box(t, net.iobox.addr, net.host.addr, ns=net.iobox)
    wait_for(lambda: state(ssd) == "in-use", 20, "the drive to be back")
    driver = Driver(read, write, memory, 0x10000000, lambda condition, what: wait_for(condition, 20, what))
    driver.enable()
    check(driver.identify() == "SOFTPCIE0", "the serial number of the drive that is back")
    check(ssd.term() == 0 and root.term() == 0, "box or root did not end cleanly")
    for process in (ssd.process, root.process):
        check(not re.search("error", process.text()), f"{process.name} logged an error")


def _readable(fd):
    import select
    return bool(select.select([fd], [], [], 0)[0])
