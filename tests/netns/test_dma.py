# SPDX-License-Identifier: Apache-2.0
"""Remote memory: `farbus dma` in one namespace, a root with a client that has memory in the other."""

import hashlib
import json
import os
import re
import signal
import subprocess
import time

from farbus_vm import BUILD, FARBUS, PATIENCE, check, wait_for
import vfio_user_client as vfio_client
from memory_client import MemoryClient

TIMEOUT = 120
LOW, HIGH = 0x100000, 0x100000000
PORT = 7100


class Scene:
    """A root with a function and a client that maps memory; requesters come from net.iobox."""

    def __init__(self, t, *allow, regions=None, with_fd=True, net=True):
        self.t = t
        self.net = t.net() if net else None
        self.root = t.root(self.net, connect=[], args=["--hold", "2s",
            "--device", f"nvme,id=ssd0,file={t.disk('16M')}", "--dma-listen", f"udp:{self.address}:{PORT}",
            *(word for rule in allow for word in ("--allow-dma", rule))])
        self.client = MemoryClient(t, self.root.socket("ssd0"), regions or {LOW: 1 << 20, HIGH: 4 << 20}, with_fd)
        self.target = f"udp:{self.address}:{PORT}/ssd0"
        self.root.wait_state("ssd0", "in-use")

    address = property(lambda self: self.net.host.addr if self.net else "127.0.0.1")

    def command(self, verb, *words, target=None):
        ns = ["ip", "netns", "exec", self.net.iobox.name] if self.net else []
        return [*ns, str(FARBUS), "dma", verb, target or self.target, *(str(word) for word in words)]

    def dma(self, verb, *words, ok=True, target=None, stdin=None):
        """stdout and stderr of one command; ok False: it must fail."""
        done = subprocess.run(self.command(verb, *words, target=target), input=stdin or b"", capture_output=True,
                              timeout=60 * PATIENCE)
        check((done.returncode == 0) == ok, f"dma {verb} {words}: exit {done.returncode}: {done.stderr.decode()}")
        return done.stdout, done.stderr.decode()

    def remote(self):
        return self.root.stats()["remote"]


def test_read_write(t):
    """Bytes there are bytes here, at any address and length, over an honest and over a bad network."""
    s = Scene(t, "all")
    s.client[LOW][:] = os.urandom(1 << 20)
    s.client[HIGH][:] = os.urandom(4 << 20)
    for start, offset, length in ((LOW, 0, 1), (LOW, 3, 5), (LOW, 4093, 10), (HIGH, 0, 4 << 20), (HIGH, 12345, 777777)):
        got, _ = s.dma("read", hex(start + offset), length, "--out", "-")
        check(got == s.client[start][offset:offset + length], f"read of {length} at +{offset} differs")
    s.client[LOW][:8] = b"farbus!\n"
    dump, _ = s.dma("read", hex(LOW), 8)
    check(dump == b"000000100000  66 61 72 62 75 73 21 0a                           |farbus!.|\n", f"hex dump: {dump}")
    for offset, length in ((1, 1), (4095, 3), (8191, 65537), (131072, 1 << 20)):
        data, before = os.urandom(length), s.client[HIGH][:]
        s.dma("write", hex(HIGH + offset), "--in", "-", stdin=data,
              *(["--fault", "drop=2%,dup=2%,reorder=5%,seed=3"] if length > 1000 else []))
        check(s.client[HIGH][:] == before[:offset] + data + before[offset + length:], f"write of {length} at +{offset}")
    s.dma("fill", hex(LOW + 5), 100000, "--hex", "0102ff")
    check(s.client[LOW][5:100005] == (b"\1\2\xff" * 33334)[:100000], "fill differs")
    s.dma("write", hex(LOW + 7), "--text", "hello")
    check(s.client[LOW][7:12] == b"hello", "text differs")
    count = s.remote()["counters"]
    check(count["read_bytes"] >= 4 << 20 and count["write_bytes"] >= 1 << 20, f"counters: {count}")
    check(not any(count[key] for key in ("denied", "unmapped", "forbidden", "stray", "faults")), f"counters: {count}")
    wait_for(lambda: s.remote()["sessions"] == 0, 10, "sessions of commands that have ended to be gone")


def test_refusals(t):
    """Outside of what the operator opened, or the VM has: refused with a reason, counted, and nothing is touched."""
    s = Scene(t, f"0x{LOW:x}+64K,ro", f"{HIGH}+1M,peer=10.99.0.0/24,function=ssd0", "all,peer=192.0.2.1")
    s.client[LOW][:] = os.urandom(1 << 20)
    before = s.client[LOW][:], s.client[HIGH][:]
    s.dma("read", hex(LOW), "64K", "--out", "-")
    for address, length in ((LOW + 0x10000, 1), (LOW + 0xFFFF, 2), (HIGH + (1 << 20) - 1, 2), (0, 16), (2**64 - 4, 4)):
        _, why = s.dma("read", hex(address), length, ok=False)
        check("refuses" in why, f"read at {address:x}: {why}")
    check(s.remote()["counters"]["denied"] >= 5, f"not counted: {s.remote()}")
    for address in (LOW, LOW + 0x20000, HIGH + (1 << 20)):
        _, why = s.dma("write", hex(address), "--hex", "ffffffff", ok=False)
        check("refuses" in why, f"write at {address:x}: {why}")
    check((s.client[LOW][:], s.client[HIGH][:]) == before, "a refused write changed memory")
    s.dma("write", hex(HIGH + (1 << 20) - 4), "--hex", "ffffffff")
    # Inside a rule, but not of the VM any more.
    s.client.unmap(HIGH)
    _, why = s.dma("read", hex(HIGH), 16, ok=False)
    check("refuses" in why and s.remote()["counters"]["unmapped"] > 0, f"unmapped: {why}")
    for target, word in ((s.target[:-1] + "1", "not allowed|no such function"), (s.target.replace("7100", "7101"), "no answer")):
        _, why = s.dma("read", hex(LOW), 16, "--connect-time", "500ms", ok=False, target=target)
        check(re.search(word, why), f"{target}: {why}")


def test_strangers(t):
    """Who is in no rule is refused at the door, learns nothing of what is there, and is counted."""
    s = Scene(t, "all,peer=192.0.2.1")
    for name in ("ssd0", "nothing", "*"):
        _, why = s.dma("read", hex(LOW), 16, ok=False, target=f"udp:{s.address}:{PORT}/{name}")
        check("not open to you" in why, f"{name}: {why}")
    check(s.remote()["refused"] == 3 and s.remote()["sessions_total"] == 0, f"counters: {s.remote()}")


def test_messages(t):
    """Memory without a descriptor goes by messages: same bytes, order kept, and what is in flight ends when the VM does."""
    s = Scene(t, "all", with_fd=False, net=False)
    s.client[HIGH][:] = os.urandom(4 << 20)
    got, _ = s.dma("read", hex(HIGH + 1), 1000003, "--out", "-")
    check(got == s.client[HIGH][1:1000004], "read differs")
    data = os.urandom(300001)
    s.dma("write", hex(LOW + 3), "--in", "-", stdin=data)
    check(s.client[LOW][3:300004] == data, "write differs")
    check(s.client.served > 300, f"only {s.client.served} messages")
    s.client.hold.set()
    reader = t.start(s.command("read", hex(HIGH), "1M", "--out", "/dev/null"), name="reader")
    wait_for(lambda: s.client.kept, 10, "messages to be in flight")
    check(len(s.client.kept) <= 64, f"{len(s.client.kept)} messages at a time leave none for the function")
    s.client.close()
    check(reader.wait() == 1 and re.search("Completer Abort|refuses", reader.text()), f"reader: {reader.text()}")
    check(s.root.process.alive(), "the root died")


def test_vm_goes_and_comes(t):
    """Killed and replaced VMs under load: the session of the old one reads nothing of the new one; roots and requesters
    that end do so cleanly."""
    s = Scene(t, "all", net=False)
    reader = t.start(s.command("perf", hex(HIGH), "4M", "--time", "30s", "--size", "4K"), name="reader")
    wait_for(lambda: (s.remote() or {}).get("counters", {}).get("reads", 0) > 1000, 15, "reads")
    s.client.close()
    check(reader.wait(20) == 1 and "refuses" in reader.text(), f"reader: {reader.text()}")
    s.root.wait_state("ssd0", "ready")
    _, why = s.dma("read", hex(LOW), 16, ok=False)
    check("no VM uses it" in why, why)
    s.client = MemoryClient(t, s.root.socket("ssd0"), {LOW: 1 << 20})
    s.client[LOW][:4] = b"new!"
    s.root.wait_state("ssd0", "in-use")
    check(s.dma("read", hex(LOW), 4, "--out", "-", target=f"udp:127.0.0.1:{PORT}")[0] == b"new!", "not the new VM's memory")
    writer = t.start(s.command("perf", hex(LOW), "1M", "--time", "30s", "--op", "write", "--size", "4K"), name="writer")
    wait_for(lambda: s.remote()["counters"]["writes"] > 1000, 15, "writes")
    s.root.term()
    check(writer.wait(20) == 1, f"writer: {writer.text()}")


def test_scan(t):
    """A scan finds what is mapped and what is looked for, writes a sparse file, and an interrupted one says how far it came."""
    s = Scene(t, "all", regions={LOW: 1 << 20, 0x400000: 0x5000, HIGH: 8 << 20}, net=False)
    s.client[LOW][4090:4100] = b"needle-one"
    s.client[HIGH][100:103] = b"\1\2\3"
    out = t.tmp / "memory.img"
    result = json.loads(s.dma("scan", 0, "0x500000", "--out", out, "--text", "needle-one", "--json")[0])
    check(result["mapped"] == [{"address": LOW, "bytes": 1 << 20}, {"address": 0x400000, "bytes": 0x5000}], result)
    check(result["found"] == [LOW + 4090] and result["complete"], f"found: {result}")
    image = out.read_bytes()
    check(len(image) == 0x500000 and image[LOW:LOW + (1 << 20)] == s.client[LOW][:], "the file is not the memory")
    check(out.stat().st_blocks * 512 <= 65536, f"the file is not sparse: {out.stat().st_blocks} blocks")
    text, end = s.dma("scan", hex(HIGH + 1), "8M", "--hex", "010203")
    check(f"found at 0x{HIGH + 100:x}" in text.decode() and "not mapped" in end, f"{text} {end}")
    whole = s.dma("scan", hex(HIGH), "8M", "--out", "-")[0]
    check(hashlib.sha256(whole).digest() == hashlib.sha256(s.client[HIGH][:]).digest(), "the stream is not the memory")
    long = t.start(s.command("scan", 0, "1T"), name="long")
    wait_for(lambda: s.remote()["sessions"] == 1, 10, "the scan to begin")
    wait_for(lambda: s.remote()["counters"]["unmapped"] > 5000, 10, "the scan to be under way")
    long.signal(signal.SIGINT)
    check(long.wait() == 1 and "incomplete: " in long.text(), f"interrupted: {long.text()}")
    check(f"mapped 0x{LOW:x}..0x{LOW + (1 << 20) - 1:x}" in long.text(), "what was found is not shown")


def test_perf(t):
    """perf measures every combination, and its figures and the root's counters agree."""
    s = Scene(t, "all")
    words = ("--op", "read,write", "--size", "64,4K", "--in-flight", "1,16", "--pattern", "random", "--time", "200ms")
    result = json.loads(s.dma("perf", hex(HIGH), "4M", *words, "--json")[0])["results"]
    check(len(result) == 8, f"{len(result)} results")
    for point in result:
        check(point["ops"] > 50 and not point["failed"] and 0 < point["p50_ns"] <= point["p99_ns"] <= point["max_ns"], point)
    count = s.remote()["counters"]
    for op, key in (("read", "reads"), ("write", "writes")):
        ops = sum(point["ops"] for point in result if point["op"] == op)
        check(ops <= count[key] <= 1.5 * ops + 1000, f"{ops} {key} by perf, {count[key]} by the root")
    table = s.dma("perf", hex(HIGH), "4M", "--size", "64", "--time", "50ms")[0].decode()
    check(re.search(r"^read +seq +64 +32 +\d+", table, re.M), table)


def test_function_goes_on(t):
    """A requester that asks for all it can does not starve the function: its registers still answer in time."""
    s = Scene(t, "all", net=False)
    hog = t.start(s.command("perf", hex(HIGH), "4M", "--time", "20s", "--size", "4K", "--in-flight", "1024"), name="hog")
    wait_for(lambda: (s.remote() or {}).get("counters", {}).get("reads", 0) > 5000, 15, "load")
    worst = 0
    for _ in range(200):
        before = time.monotonic()
        s.root.ls()
        worst = max(worst, time.monotonic() - before)
    check(hog.alive(), "there was no load")
    check(worst < 0.5 * PATIENCE, f"the root was away for {worst:.3f} s")


def test_example(t):
    """The example, ten lines against the installed library, prints the memory."""
    s = Scene(t, "all", net=False)
    s.client[LOW][:64] = bytes(range(64))
    done = subprocess.run([BUILD / "examples" / "read-memory", s.target, hex(LOW)], capture_output=True, timeout=20 * PATIENCE)
    check(done.returncode == 0 and done.stdout == bytes(range(64)), f"{done}")
    done = subprocess.run([BUILD / "examples" / "read-memory", s.target, "0"], capture_output=True, timeout=20 * PATIENCE)
    check(done.returncode == 1 and b"Unsupported Request" in done.stderr, f"{done}")


def test_softpcie(t):
    """The same commands and the same library against a SoftPCIe adapter: one TLP a datagram."""
    net = t.net()
    root = t.root(net, connect=[], args=["--softpcie", f"{net.host.addr},peer={net.iobox.addr},engine=on"])
    client = vfio_client.Client(t, root.socket("softpcie0"))
    memory = client.memory(HIGH, 4 << 20)
    memory[:] = os.urandom(4 << 20)
    client.enable({0: 0xF0000000, 2: 0xF1000000, 4: 0x1F2000000})
    target = f"softpcie:{net.host.addr},local={net.iobox.addr}"

    def dma(verb, *words, ok=True, stdin=b""):
        done = subprocess.run(["ip", "netns", "exec", net.iobox.name, str(FARBUS), "dma", verb, target, *map(str, words)],
                              input=stdin, capture_output=True, timeout=60 * PATIENCE)
        check((done.returncode == 0) == ok, f"dma {verb} {words}: exit {done.returncode}: {done.stderr.decode()}")
        return done.stdout, done.stderr.decode()
    for offset, length in ((0, 1), (3, 5), (4093, 10), (12345, 777777)):
        got, _ = dma("read", hex(HIGH + offset), length, "--out", "-")
        check(got == memory[offset:offset + length], f"read of {length} at +{offset} differs")
    for offset, length in ((1, 1), (4095, 3), (8191, 65537)):
        data, before = os.urandom(length), memory[:]
        dma("write", hex(HIGH + offset), "--in", "-", stdin=data)
        check(memory[:] == before[:offset] + data + before[offset + length:], f"write of {length} at +{offset}")
    _, why = dma("read", hex(HIGH + (4 << 20) - 2), 4, ok=False)
    check("refuses" in why, f"beyond the memory: {why}")
    result = json.loads(dma("perf", hex(HIGH), "4M", "--size", "64", "--in-flight", "64", "--time", "300ms", "--json")[0])
    check(result["results"][0]["ops"] > 1000 and not result["results"][0]["failed"], f"{result}")
    target = target.replace(net.host.addr, "10.99.0.77")
    _, why = dma("read", hex(HIGH), 4, "--connect-time", "300ms", ok=False)
    check("message API" in why, f"no adapter there: {why}")
