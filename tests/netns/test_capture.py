# SPDX-License-Identifier: Apache-2.0
"""One session seen three ways: by captures in root and box, and by dumpcap on the wire. And captures of a running daemon."""

import json
import re
import shutil
import subprocess

from farbus_vm import FARBUS, Skip, check, farbus, wait_for
from tshark import available, tshark

TIMEOUT = 120


def decoded(path):
    """[(direction, text of the TLP), …] by farbus decode."""
    lines = farbus("decode", path)[1].splitlines()
    found = [re.match(r" *\d+ [\d.]+ .*?(up|down)  (.*)", line) for line in lines if re.match(r" *\d+ ", line)]
    check(all(found), f"{path.name}: a line that is no TLP: {[l for l, f in zip(lines, found) if not f][:3]}")
    return [(match[1], match[2]) for match in found]


# The tests' port is that of RoCE, whose dissector takes anything.
LINK = ("-d", "udp.port==4791,fblink")


def one_way(tlps, direction):
    return [text for way, text in tlps if way == direction]


def start_dumpcap(t, net, path):
    if not available() or not shutil.which("dumpcap"):
        raise Skip("tshark is not installed")
    path.touch(mode=0o666)
    dumpcap = t.start(["dumpcap", "-q", "-i", "eth0", "-f", "udp", "-w", path], ns=net.host.name)
    dumpcap.wait_log(r"File: ", 30)
    return dumpcap


def test_three_views(t):
    """Root, box and wire have the same TLPs in the same order; tshark makes the same of them as farbus decode."""
    net = t.net()
    at_root, at_box, wire = t.logs / "root.pcapng", t.logs / "box.pcapng", t.logs / "wire.pcapng"
    dumpcap = start_dumpcap(t, net, wire)
    box = t.box(net, f"nvme,id=ssd0,file={t.disk()}", args=["--capture", str(at_box)])
    root = t.root(net, args=["--capture", str(at_root)])
    root.wait_state("ssd0", "ready")
    tlps = sum(root.stats()["functions"][0]["port"]["tlp_tx"].values())
    for daemon in (root, box):
        check(daemon.term() == 0, f"{daemon.name} does not end well")
    wait_for(lambda: b"" != wire.read_bytes() and "CLOSE" in farbus("decode", "-a", wire)[1], 30, "dumpcap to have the end")
    dumpcap.signal(2)
    dumpcap.wait(30)
    views = {name: decoded(path) for name, path in (("root", at_root), ("box", at_box), ("wire", wire))}
    check(len(one_way(views["root"], "down")) >= tlps > 50, f"{tlps} TLPs were sent, {len(views['root'])} are in the capture")
    for direction in ("up", "down"):
        first = one_way(views["root"], direction)
        for name in ("box", "wire"):
            check(one_way(views[name], direction) == first, f"{name} has other TLPs {direction} than root has")
    t.log(f"{len(views['root'])} TLPs, the same in root, box and on the wire")

    # The same by tshark, from our capture and from the wire; and each completion has its request.
    for path in (at_root, wire):
        rows = tshark(path, *LINK, "-T", "fields", "-E", "aggregator=,", "-e", "tlp.type", "-e", "tlp.tag",
                      "-Y", "tlp").splitlines()
        seen = [pair for row in rows for pair in zip(*(column.split(",") for column in row.split("\t")))]
        ours = sorted((re.match(r"\w+", text)[0], re.search(r"tag (\d+)", text)[1]) for _, text in views["root"])
        check(sorted((re.sub(r"(MRd|MWr)(32|64)", r"\1", kind), tag) for kind, tag in seen) == ours,
              f"tshark sees other TLPs in {path.name}: {len(seen)}, not {len(ours)}: {seen[:3]} {ours[:3]}")
        check(tshark(path, *LINK, "-Y", "tlp.malformed || tlp.expert.unexpected || fblink.passed_over || _ws.lua.error") == "",
              f"tshark has complaints of {path.name}")
        text = tshark(path, *LINK, "-q", "-X", "lua_script1:stats")
        check("Time from CfgRd0 to its last completion" in text, f"no latencies in {text}")


def test_running_daemon(t):
    """A filtered, counted capture of a root that has run for a while; one that is killed leaves a whole file all the same."""
    net = t.net()
    image = t.disk()
    box = t.box(net, f"nvme,id=ssd0,file={image}")
    root = t.root(net)
    root.wait_state("ssd0", "ready")
    counted, killed = t.tmp / "counted.pcapng", t.tmp / "killed.pcapng"
    capture = t.start([FARBUS, "capture", "-w", counted, "--control", root.control, "--count", "20", "--filter",
                       "type=CfgRd0 dir=down"])
    victim = t.start([FARBUS, "capture", "-w", killed, "--control", root.control])
    for process in (capture, victim):
        process.wait_log("capturing to")
    check(root.stats()["capture"]["running"] == 2, "two captures are to be running")
    # A box that comes back is enumerated anew.
    box.kill()
    t.box(net, f"nvme,id=ssd0,file={image}")
    check(capture.wait(30) == 0, "the counted capture does not end by itself")
    check("20 TLPs, 0 dropped" in capture.text(), capture.text())
    root.wait_state("ssd0", "ready")
    tlps = decoded(counted)
    check(len(tlps) == 20 and all(way == "down" and text.startswith("CfgRd0 ") for way, text in tlps), f"{tlps}")
    victim.kill()
    wait_for(lambda: root.stats()["capture"]["running"] == 0, 10, "the killed capture to be over")
    done = subprocess.run([FARBUS, "decode", killed], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(done.returncode == 0 and "0 dropped by the capture" in done.stderr, done.stderr)
    check(len(done.stdout.splitlines()) > 100, f"{len(done.stdout.splitlines())} TLPs of a whole enumeration")
    t.log(json.dumps(root.stats()["capture"]))
