# SPDX-License-Identifier: Apache-2.0
"""`farbus top` over a root with traffic: for scripts, and on a terminal."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time

from farbus_vm import FARBUS, PATIENCE, check, farbus, wait_for
from test_dma import HIGH, Scene

TIMEOUT = 120


def test_once(t):
    """--once prints one interval: functions and requesters with their rates, the busiest first."""
    s = Scene(t, "all", net=False)
    load = t.start(s.command("perf", hex(HIGH), "4M", "--time", "60s", "--size", "64", "--in-flight", "8"), name="load")
    wait_for(lambda: (s.root.stats()["remote"] or {})["counters"]["reads"] > 1000, 15, "load")
    out = farbus("top", "--once", "--interval", "500ms", "--control", s.root.control)[1]
    lines = out.splitlines()
    check(re.match(r"FUNCTION +ON +LINK +TLP/S", lines[0]), out)
    check("\033" not in out, "escape sequences on something that is no terminal")
    check(re.match(r"ssd0 +remote udp:127\.0\.0\.1:\d+ +up +[\d.]+k", lines[1]), f"the requester is not first: {out}")
    check(any(re.match(rf"ssd0 +root {s.root.pid} +up ", line) for line in lines), out)
    check(any(re.match(r"ssd0 +box in root \d+ ", line) for line in lines), out)
    names = farbus("top", "--once", "--interval", "100ms", "--sort", "name", "--control", s.root.control)[1].splitlines()[1:]
    check([line[17:20] for line in names] == ["box", "rem", "roo"], f"by name: {names}")
    check(load.alive(), "the load ended")
    check(farbus("top", "--sort", "weight", ok=False)[0] == 2, "an unknown order is accepted")


def test_terminal(t):
    """On a terminal it fills the window and no more, follows its size, sorts by keys, and q gives the screen back."""
    s = Scene(t, "all", net=False)
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(FARBUS, ["farbus", "top", "--interval", "200ms", "--control", str(s.root.control)])
    t.defer(lambda: os.close(fd))
    seen = b""

    def screen(rows, columns):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(pattern, timeout=10):
        nonlocal seen
        deadline = time.monotonic() + timeout * PATIENCE
        while not re.search(pattern, seen):
            check(time.monotonic() < deadline, f"not seen: {pattern} in {seen[-500:]}")
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    seen += os.read(fd, 65536)
                except OSError:  # the other end is closed
                    break
        check(re.search(pattern, seen), f"not seen: {pattern} in {seen[-500:]}")
    screen(10, 60)
    until(rb"\x1b\[\?1049h")
    until(rb"farbus top  \d\d:\d\d:\d\d  1 daemon, 2 functions, by tlps")
    seen = b""
    until(rb"\x1b\[H(?s:.*)\x1b\[J")
    frame = re.findall(rb"\x1b\[H(.*?)\x1b\[J", seen, re.S)[-1]
    for line in re.sub(rb"\x1b\[[\d?;]*[a-zA-Z]", b"", frame).split(b"\r\n"):
        check(len(line) <= 60, f"a line of {len(line)} in a window of 60: {line}")
    os.write(fd, b"n")
    until(rb"by name")
    screen(30, 200)
    seen = b""
    until(rb"RTT P50 +RESENT +TIMEOUT")
    os.write(fd, b"q")
    until(rb"\x1b\[\?1049l")
    check(wait_for(lambda: os.waitpid(pid, os.WNOHANG), 10, "top to end")[1] == 0, "q is a failure")
