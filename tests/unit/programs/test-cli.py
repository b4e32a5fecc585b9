#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The program's words: each wrong input gives one clear line and its exit status, and changes nothing else.

test-cli.py FARBUS SOURCE_ROOT [-v] [TestCase…]

Runs real processes on loopback addresses only. Waits are for conditions, with deadlines.
"""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

FARBUS, SOURCE = sys.argv[1], pathlib.Path(sys.argv[2])
sys.path.insert(0, str(SOURCE / "wireshark/captures"))
from make import crc32c  # noqa: E402
PATIENCE = 30  # s: for a loaded machine under sanitizers; nothing here takes so long
PREFIX = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} (error: |warning: )?")
LOGGED = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} (error|warning): ")  # a daemon's errors
SAID = re.compile(r"^farbus: ")  # those of commands that end by themselves
FAILED, USAGE = 1, 2


def environment(**more):
    env = {k: v for k, v in os.environ.items() if k not in ("JOURNAL_STREAM", "NOTIFY_SOCKET", "XDG_RUNTIME_DIR")}
    return {**env, "LC_ALL": "C", **more}


class Daemon:
    """A box or root that runs; its stderr is read by a thread."""

    def __init__(self, *args, env=None):
        self.lines, self.changed = [], threading.Condition()
        self.process = subprocess.Popen([FARBUS, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=env or environment())
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(PREFIX.sub("", line.rstrip("\n")))
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)
            self.changed.notify_all()

    def wait_line(self, pattern):
        """The match of the first line that has the pattern."""
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                for line in self.lines:
                    match = line is not None and re.search(pattern, line)
                    if match:
                        return match
                if self.lines and self.lines[-1] is None:
                    raise AssertionError(f"ended without {pattern!r}: {self.lines}")
                if not self.changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no {pattern!r} in {PATIENCE} s: {self.lines}")

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            status = self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stdout.close()
            self.process.stderr.close()
        return status


class OtherBox:
    """A box of another make: its directory names those versions and has ssd0, whose HELLO it refuses so. From docs/protocol.md."""

    def __init__(self, versions, reason=0, text=b"", refuses=None):
        self.versions, self.reason, self.text, self.refuses, self.hellos = versions, reason, text, refuses or versions, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "udp:127.0.0.1:%d" % self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _send(self, to, kind, session, fields, payload=b""):
        head = struct.pack(">HBBBBHQQI", 0x4642, 1, kind, 0, 0, 32 + len(fields), session, 0, 1)
        self.socket.sendto(head + struct.pack(">I", crc32c(head + fields + payload)) + fields + payload, to)

    def _serve(self):
        while True:
            data, who = self.socket.recvfrom(65536)
            if not data:
                return
            if data[3] == 6: # LIST
                entry = struct.pack(">32s16s16sHHIIII", b"ssd0", b"nvme", b"", 0x1b36, 0x10, 0x10802, 0, 0, 0)[:80]
                n = int(self.versions[0] <= 1 <= self.versions[1])
                fields = struct.pack(">4sIHHIHHIQ16s", data[32:36], 0, *self.versions, n, n, 80, 0, 1, b"box")
                self._send(who, 7, 0, fields, n * entry.ljust(80, b"\0"))
            elif data[3] == 1: # HELLO
                self.hellos += 1
                self._send(who, 3, int.from_bytes(data[16:24], "big"),
                           struct.pack(">HHHH", *self.refuses, self.reason, len(self.text)), self.text)

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.socket.getsockname())
        self.thread.join(PATIENCE)
        self.socket.close()


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="farbus-cli-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.image = self.dir / "disk.img"
        self.image.write_bytes(b"\0" * (1 << 20))
        (self.dir / "sockets").mkdir()

    def run_it(self, *args, **env):
        return subprocess.run([FARBUS, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE, env=environment(**env))

    def refused(self, args, status, *patterns):
        """One error on stderr, its last line, that has all the patterns (regular expressions), and that exit status."""
        done = self.run_it(*args)
        lines = done.stderr.splitlines()
        prefix = LOGGED if args[0] in ("box", "root") else SAID
        wrong = [line for line in lines if prefix.match(line)]
        self.assertEqual(wrong, lines[-1:], f"{args}: one error expected, at the end:\n{done.stderr}")
        line = prefix.sub("", lines[-1])
        for pattern in patterns:
            self.assertRegex(line, pattern, args)
        self.assertEqual(done.returncode, status, f"{args}: {line}")
        self.assertEqual(done.stdout, "", args)

    def daemon(self, *args, **kw):
        daemon = Daemon(*args, **kw)
        self.addCleanup(daemon.stop)
        return daemon

    def box_args(self, *extra, device=None):
        return ("box", "--listen", "udp:127.0.0.1:0", "--control", self.dir / "box.sock",
                "--device", f"nvme,id=ssd0,file={self.image}" if device is None else device, *extra)

    def box(self, *extra, **kw):
        """A running box and its address."""
        box = self.daemon(*self.box_args(*extra), **kw)
        return box, box.wait_line(r"ready: listening on (udp:127\.0\.0\.1:\d+);")[1]

    def root(self, *args, control="root.sock", sockets="sockets"):
        """A running root."""
        root = self.daemon("root", "--socket-dir", self.dir / sockets, "--control", self.dir / control, "--scan", "50ms",
                           *args)
        root.wait_line("ready: sockets in .*; 1 box")
        return root

    def root_args(self, *extra):
        return ("root", "--socket-dir", self.dir / "sockets", "--control", self.dir / "root.sock", *extra)

    def ask(self, socket_name, *args):
        done = self.run_it(*args, "--control", self.dir / socket_name)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


class Words(Case):
    def test_help_and_version(self):
        for args in (["--help"], ["-h"], ["help"], ["box", "--help"], ["root", "-h"], ["ls", "--help"],
                     ["stats", "--help"], ["plug", "--help"], ["unplug", "--help"], ["box", "--device", "help"]):
            done = self.run_it(*args)
            self.assertEqual((done.returncode, done.stderr), (0, ""), args)
            self.assertTrue(done.stdout, args)
        self.assertRegex(self.run_it("--version").stdout, r"^farbus \d+\.\d+\.\d+\n$")
        self.assertEqual(self.run_it().returncode, USAGE)

    def test_help_of_every_model(self):
        listing = self.run_it("box", "--device", "help").stdout
        models = [line.split()[0] for line in listing.splitlines() if line and line[0].isalpha()]
        self.assertIn("nvme", models)
        for model in models:
            text = self.run_it("box", "--device", f"{model},help").stdout
            self.assertIn(" id=TEXT", text)
        text = self.run_it("root", "--device", "nvme,help").stdout
        self.assertRegex(text, r"file=TEXT .*\(required\)")
        self.assertRegex(text, r"lba=.*512.*4096")

    def test_unknown_words(self):
        self.refused(["bxo"], USAGE, '^no command "bxo"; did you mean "box"\\?$')
        self.refused(["quux"], USAGE, '^no command "quux"; "farbus --help" lists them$')
        self.refused(["box", "--listn", "x"], USAGE, '^box: no option "--listn"; did you mean "--listen"\\?$')
        self.refused(["root", "--sokcet-dir", "x"], USAGE, 'did you mean "--socket-dir"')
        self.refused(["ls", "extra"], USAGE, '"extra" is one word too many')
        self.refused(["box", "extra"], USAGE, '"extra" is one word too many')
        self.refused(["plug"], USAGE, "which function")
        self.refused(["plug", "a", "b"], USAGE, '"b" is one word too many')

    def test_missing_options(self):
        self.refused(["box"], USAGE, "--listen is missing")
        self.refused(["box", "--listen", "udp:127.0.0.1:0"], USAGE, "--device is missing")
        self.refused(["root"], USAGE, "--connect is missing")
        self.refused(["root", "--connect", "udp:127.0.0.1:9"], USAGE, "--socket-dir is missing")
        self.refused(["root", "--connect"], USAGE, r"--connect: its value \(ADDRESS\) is missing")
        self.refused(self.root_args("--connect", "udp:127.0.0.1:9", "--qmp", "x"), USAGE, "--qmp needs --slot")
        self.refused(self.root_args("--connect", "udp:127.0.0.1:9", "--slot", "x"), USAGE, "--slot needs --qmp")
        self.refused(self.root_args("--connect", "udp:127.0.0.1:9", "--replug", "x"), USAGE, "--replug needs --qmp")

    def test_bad_values(self):
        for option, value, allowed in (("--poll-us", "abc", "a number, from 0 to 1000000"),
                                       ("--mtu", "1231", "from 1232 to 65504"),
                                       ("--mtu", "65505", "from 1232 to 65504"),
                                       ("--hold", "30", "a time such as 10ms"),
                                       ("--hold", "1us", "from 100ms"),
                                       ("--group", "-1", "a number"),
                                       ("--group", "4294967296", "a number")):
            self.refused(self.box_args(option, value), USAGE,
                         f"^box: {option[2:]}={value}: must be .*{allowed}")
        self.refused(self.box_args("--node", "abc"), USAGE, "--node=abc: must be a UUID")
        self.refused(self.root_args("--connect", "udp:127.0.0.1:9", "--msix", "onn"), USAGE,
                     'msix=onn: must be one of auto, on, off; did you mean "on"')
        self.refused(self.root_args("--connect", "udp:127.0.0.1:9", "--answer-time", "x"), USAGE, "answer-time=x")
        self.refused(self.box_args("--listen", "udp:127.0.0.1:0"), USAGE, "--listen: given twice")
        self.refused(self.root_args("--connect", "udp:127.0.0.1:9", "--only", "a b"), USAGE, '"a b" is not the ID')
        self.refused(self.root_args("--connect", "udp:127.0.0.1:9", "--qmp", "x", "--slot", "a,a"), USAGE, "slot a is given twice")
        self.refused(["box", "--softpcie", "x", "--control", self.dir / "box.sock", "--device", "edu,id=a"], USAGE,
                     "--softpcie x: begins with the adapter's IPv4 address")

    def test_bad_fault(self):
        self.refused(self.box_args("--fault", "drop=1%,rorder=2%"), USAGE, "rorder", 'did you mean "reorder"')
        self.refused(self.box_args("--fault", "drop=x"), USAGE, "drop=x")

    def test_bad_addresses(self):
        def box(address, *patterns, status=USAGE):
            self.refused(["box", "--listen", address, "--device", f"nvme,id=a,file={self.image}"], status, *patterns)
        box("upd:127.0.0.1:7000", "upd", "udp")
        box("udp:127.0.0.1", re.escape("udp:127.0.0.1"))
        box("udp:127.0.0.1:99999", "99999")
        box("udp:127.0.0.1:x", "127.0.0.1:x")
        box("udp:[::1:7000", re.escape("[::1"))
        box("udp:192.0.2.1:7000", re.escape("192.0.2.1:7000"), "[Cc]annot assign requested address", status=FAILED)
        self.refused(self.root_args("--connect", "upd:127.0.0.1:9"), USAGE, "upd", "udp")
        self.refused(self.root_args("--connect", "udp:127.0.0.1"), USAGE, re.escape("udp:127.0.0.1"))
        self.refused(self.root_args("--connect", "udp:127.0.0.1:0"), USAGE, re.escape("udp:127.0.0.1:0: must be"), "and a port")

    def test_socket_dir(self):
        args = ["root", "--connect", "udp:127.0.0.1:9", "--socket-dir"]
        self.refused([*args, self.dir / "none"], FAILED, "--socket-dir .*/none: No such file or directory")
        self.refused([*args, self.image], FAILED, "--socket-dir .*disk.img: Not a directory")


class Devices(Case):
    def wrong(self, device, *patterns, status=USAGE):
        self.refused(self.box_args(device=device), status, *patterns)
        self.assertFalse((self.dir / "box.sock").exists())

    def test_options(self):
        f = f"file={self.image}"
        self.wrong(f"nvmee,id=a,{f}", "nvmee", "nvme")
        self.wrong(f"nvme,{f}", "id")
        self.wrong(f"nvme,id=a b,{f}", "a b")
        self.wrong(f"nvme,id={'x' * 32},{f}", "x{32}", "31")
        self.wrong(f"nvme,id=a,fiel={self.image}", "fiel", 'did you mean "?file')
        self.wrong("nvme,id=a", "file")
        self.wrong(f"nvme,id=a,{f},lba=513", "lba", "513", "512", "4096")
        self.wrong(f"nvme,id=a,{f},queues=0", "queues", "0")
        self.wrong(f"nvme,id=a,{f},queues=x", "queues", "x")
        self.wrong(f"nvme,id=a,{f},queues", "queues")
        self.wrong(f"nvme,id=a,{f},msi=maybe", "msi", "maybe")
        for size in ("3K", "12K"):
            self.wrong(f"nvme,id=a,{f},mdts={size}", "^(nvme|a): mdts=.*power of 2")
        self.wrong(f"nvme,id=a,{f},=5", "no such option")
        self.refused(self.box_args(device=""), USAGE, "device: an empty value")
        self.refused(["devices", "nvmee"], USAGE, 'no model "nvmee"; did you mean "nvme"')
        self.refused(["devices", "./none.so"], FAILED, "./none.so: cannot open shared object file")
        self.wrong("./none.so,id=a", "./none.so: cannot open shared object file", status=FAILED)

    def test_same_id_twice(self):
        other = self.dir / "other.img"
        other.write_bytes(b"\0" * (1 << 20))
        self.refused(self.box_args("--device", f"nvme,id=ssd0,file={other}"), USAGE, "ssd0")

    def test_same_image_twice(self):
        self.refused(self.box_args("--device", f"nvme,id=ssd1,file={self.image}"), FAILED, "disk.img is in use")

    def test_files(self):
        self.wrong(f"nvme,id=a,file={self.dir}/none", "file=.*none: there is no such file", status=FAILED)
        self.wrong(f"nvme,id=a,file={self.dir}", re.escape(str(self.dir)), "directory", status=FAILED)
        odd = self.dir / "odd.img"
        odd.write_bytes(b"\0" * 1000)
        self.wrong(f"nvme,id=a,file={odd}", "odd.img", "1000", "512", status=FAILED)
        empty = self.dir / "empty.img"
        empty.write_bytes(b"")
        self.wrong(f"nvme,id=a,file={empty}", "empty.img", status=FAILED)
        self.wrong("nvme,id=a,file=/dev/null", "/dev/null", status=FAILED)

    def test_read_only_file_system(self):
        """Root may write to a file of mode 0444, so a file that really refuses is needed: a running program's."""
        busy = self.dir / "sleep"
        shutil.copy(shutil.which("sleep"), busy)
        with open(busy, "ab") as f:
            f.truncate((os.path.getsize(busy) + 4095) // 4096 * 4096)
        running = subprocess.Popen([busy, "1000"])
        try:
            self.wrong(f"nvme,id=a,file={busy}", "sleep", "Text file busy", status=FAILED)
        finally:
            running.kill()
            running.wait()

    def test_image_is_left_as_it_was(self):
        self.image.write_bytes(bytes(range(256)) * 4096)
        before = self.image.read_bytes()
        self.wrong(f"nvme,id=a,file={self.image},lba=513", "lba")
        box, _ = self.box()
        self.assertEqual(box.stop(), 0)
        self.assertEqual(self.image.read_bytes(), before)


    def test_controller_without_drives(self):
        """Allowed, and not silent: no drive can be plugged there later."""
        box = self.daemon(*self.box_args(device="sil3132,id=sata0"))
        box.wait_line("^sata0: both ports are empty.* port0 or port1")
        box.wait_line("ready: ")
        with_drive = self.daemon("box", "--listen", "udp:127.0.0.1:0", "--control", self.dir / "b2.sock", "--device",
                                 f"sil3132,id=sata1,port1={self.image}")
        with_drive.wait_line("ready: ")
        self.assertFalse([line for line in with_drive.lines if line and "empty" in line])


class Remote(Case):
    """dma, and the root's options for it; top and wire."""

    def test_dma_words(self):
        target = "udp:127.0.0.1:9/ssd0"
        self.refused(["dma"], USAGE, "the verb is missing")
        self.refused(["dma", "raed", target, "0", "1"], USAGE, 'no verb "raed"; did you mean "read"')
        self.refused(["dma", "read", target, "0"], USAGE, "usage: farbus dma read TARGET ADDRESS LENGTH")
        self.refused(["dma", "read", target, "0x1g", "1"], USAGE, 'address "0x1g": must be a number of bytes')
        self.refused(["dma", "read", target, "0", "0"], USAGE, "length 0: 0, or beyond the end")
        self.refused(["dma", "read", target, "0xffffffffffffffff", "2"], USAGE, "beyond the end of the address space")
        self.refused(["dma", "read", target, "0", "1", "--hex", "00"], USAGE, "--hex is not for read")
        self.refused(["dma", "write", target, "0"], USAGE, "write needs one of --hex, --text and --in")
        self.refused(["dma", "write", target, "0", "5", "--hex", "00"], USAGE, "takes no LENGTH")
        self.refused(["dma", "fill", target, "0", "5"], USAGE, "fill needs --hex or --text")
        self.refused(["dma", "perf", target, "0", "4K", "--op", "reed"], USAGE, 'not one of read, write; did you mean "read"')
        self.refused(["dma", "perf", target, "0", "4K", "--size", "8M"], USAGE, '--size: "8M" must be 1 to 1048576')
        self.refused(["dma", "read", target, "0", "1", "--max-read", "200"], USAGE, "max-read=200")
        self.refused(["dma", "read", "tcp:1", "0", "1"], USAGE, "begins with udp: or softpcie:")
        self.refused(["dma", "read", "softpcie:1.2.3", "0", "1"], USAGE, "softpcie:ADDRESS")
        self.refused(["dma", "perf", "udp:127.0.0.1/x", "0", "1M"], USAGE, "not a target")
        self.refused(["dma", "read", target, "0", "1", "--fault", "drip=1%"], USAGE, 'did you mean "drop"')
        self.refused(["dma", "read", target, "0", "1", "--connect-time", "100ms"], FAILED, f"{target}: no answer$")

    def test_allow_dma(self):
        root = self.root_args("--connect", "udp:127.0.0.1:9")
        self.refused([*root, "--allow-dma", "all"], USAGE, "--allow-dma needs --dma-listen")
        self.refused([*root, "--dma-listen", "udp:127.0.0.1:0"], USAGE, "--dma-listen needs --allow-dma")
        for rule, pattern in (("everything", "must begin with \"all\" or with a range"), ("0+0", "START\\+SIZE"),
                              ("all,peer=example.org", "peer must be an IP address"), ("all,r", '"r" is not one of peer'),
                              ("all,functoin=a", 'did you mean "function"')):
            self.refused([*root, "--dma-listen", "udp:127.0.0.1:0", "--allow-dma", rule], USAGE, "allow-dma", pattern)

    def test_wire(self):
        rows = json.loads(self.run_it("wire", "--payload", "128", "--speed", "10G", "--json").stdout)["rows"]
        self.assertEqual([row["framing"] for row in rows], ["softpcie", "link"])
        self.assertEqual((rows[0]["tlps_a_datagram"], round(rows[0]["data_gbit"], 3)), (1, 6.038))
        self.assertGreater(rows[1]["data_gbit"], rows[0]["data_gbit"])
        self.assertRegex(self.run_it("wire", "--framing", "softpcie", "--payload", "128").stdout,
                         r"(?s)1 Gbit/s +0.66 +0.60.*10 Gbit/s +6.60 +6.03.*40 Gbit/s +26.41 +24.15.*100 Gbit/s +66.03 +60.37")
        self.refused(["wire", "--payload", "5000"], USAGE, '--payload: "5000" must be 1 to 4096')
        self.refused(["wire", "--framing", "token-ring"], USAGE, "must be softpcie or link")

    def test_top(self):
        self.refused(["top", "--sort", "size"], USAGE, "sort=size: must be one of tlps")
        self.refused(["top", "now"], USAGE, '"now" is one word too many')
        self.refused(["top", "--once", "--control", self.dir / "none.sock"], FAILED, "none.sock: No such file or directory")


class Capturing(Case):
    def test_wrong(self):
        control = ["--control", self.dir / "none.sock"]
        self.refused(["capture"], USAGE, "-w is missing")
        self.refused(["capture", "-w", "x", "y"], USAGE, '"y" is one word too many; a filter goes with --filter')
        self.refused(["capture", "-w", "x", "--filter", "typ=MRd", *control], USAGE, 'no key "typ"; did you mean "type"')
        self.refused(["capture", "-w", "x", "--files", "3", *control], USAGE, "files=3 needs a size")
        self.refused(["capture", "-w", "x", "--size", "1M", *control], USAGE, "size needs files")
        self.refused(["capture", "-w", "-", "--size", "1M", "--files", "3", *control], USAGE, "standard output")
        self.refused(["capture", "-w", "x", *control], FAILED, "none.sock: No such file or directory")
        for spec, *patterns in ((",snap=16", "the file's name is missing"),
                                (f"{self.dir}/t,snpa=16", 'no option "snpa"; did you mean "snap"'),
                                (f"{self.dir}/t,snap=8", "snap=8", "from 16"),
                                (f"{self.dir}/t,filter=type=MRdd", "did you mean MRd"),
                                (f"{self.dir}/none/t", "none/t: No such file or directory"),
                                (f"{self.dir}/t,files=2", "files=2 needs a size")):
            self.refused(self.box_args("--capture", spec), FAILED if "/none/" in spec else USAGE, *patterns)
        self.assertFalse((self.dir / "t").exists())

    def test_nothing_is_overwritten_for_a_mistake(self):
        old = self.dir / "old.pcapng"
        old.write_text("precious")
        self.refused(["capture", "-w", old, "--control", self.dir / "none.sock"], FAILED, "none.sock")
        self.refused(["capture", "-w", old, "--filter", "x"], USAGE, "not KEY=VALUE")
        self.assertEqual(old.read_text(), "precious")

    def test_of_a_running_daemon(self):
        """By count, by time, by interrupt, and with the daemon's end; each leaves a whole file."""
        box, _ = self.box("--capture", f"{self.dir}/own.pcapng")
        control = ["--control", self.dir / "box.sock"]
        for name, options in (("time", ["--duration", "50ms"]), ("interrupt", [])):
            path = self.dir / f"{name}.pcapng"
            process = subprocess.Popen([FARBUS, "capture", "-w", path, *options, *control], stderr=subprocess.PIPE,
                                       text=True)
            self.assertRegex(process.stderr.readline(), "capturing to .*pcapng; an interrupt ends it")
            if not options:
                self.assertEqual(json.loads(self.ask("box.sock", "stats", "--json"))["capture"]["running"], 2)
                process.send_signal(signal.SIGINT)
            text = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, 0, text)
            self.assertIn("0 TLPs, 0 dropped", text)
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            self.whole(path)
        process = subprocess.Popen([FARBUS, "capture", "-w", "-", *control], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stderr.readline()
        self.assertEqual(box.stop(), 0)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, FAILED)
        self.assertIn(b"the daemon closed the connection", err)
        (self.dir / "pipe.pcapng").write_bytes(out)
        self.whole(self.dir / "pipe.pcapng")
        self.whole(self.dir / "own.pcapng")

    def whole(self, path):
        """A section, an interface, and at the end its statistics."""
        data, kinds = path.read_bytes(), []
        while data:
            kind, size = struct.unpack_from("<II", data)
            self.assertEqual(struct.unpack_from("<I", data, size - 4)[0], size)
            kinds.append(kind)
            data = data[size:]
        self.assertEqual(kinds, [0x0a0d0d0a, 1, 5])


class Running(Case):
    def test_life_of_a_box(self):
        box, address = self.box()
        ls = json.loads(self.ask("box.sock", "ls", "--json"))
        self.assertEqual((ls["role"], ls["listen"], ls["pid"]), ("box", address, box.process.pid))
        self.assertEqual([(f["id"], f["model"], f["state"]) for f in ls["functions"]], [("ssd0", "nvme", "free")])
        self.assertRegex(self.ask("box.sock", "ls"), r"ID +MODEL.*\nssd0 +nvme ")
        stats = json.loads(self.ask("box.sock", "stats", "--json"))
        self.assertIsNone(stats["functions"][0]["port"])
        self.assertEqual(stats["functions"][0]["counters"]["dma_reads"], 0)
        self.assertIn("sleeps", stats["loop"])
        self.assertIn("ssd0 on box", self.ask("box.sock", "stats", "ssd0"))
        self.refused(["stats", "sssd0", "--control", self.dir / "box.sock"], FAILED, 'no function "sssd0"; did you mean "ssd0"')
        self.refused(["plug", "ssd0", "--control", self.dir / "box.sock"], FAILED, "box.sock: a box listens there: it is roots")
        self.assertEqual(box.stop(), 0)
        self.assertFalse((self.dir / "box.sock").exists())
        self.assertEqual(len([x for x in box.lines if x and "SIGTERM" in x]), 1)

    def test_descriptor_limit_is_raised(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 256), hard))
        box, _ = self.box()
        self.assertEqual(resource.prlimit(box.process.pid, resource.RLIMIT_NOFILE), (hard, hard))

    def test_box_sleeps_when_idle(self):
        """--poll-us spins after traffic only: a box that nobody talks to uses no CPU time."""
        self.box("--poll-us", "1000")
        def rounds():
            return json.loads(self.ask("box.sock", "stats", "--json"))["loop"]
        first, second = rounds(), rounds()
        self.assertLess(second["sleeps"] - first["sleeps"], 50)

    def test_long_answer_time(self):
        """Who attaches functions by hand is told what QEMU needs."""
        for time, told in (("4s", False), ("12s", True)):
            root = self.root("--connect", "udp:127.0.0.1:9", "--answer-time", time, control=f"{time}.sock")
            self.assertEqual(any("x-msg-timeout\": 15000" in line for line in root.lines), told, root.lines)
            root.stop()

    def test_complaints_of_a_directory_come_once(self):
        """It is read again and again, and is as wrong as it was: for as long as the box is the same, one line says so."""
        deep = self.dir / ("d" * (88 - len(str(self.dir))))
        deep.mkdir()
        box, address = self.box("--device", "edu,id=same", "--device", "edu,id=" + "n" * 31)
        root = self.daemon("root", "--connect", address, "--device", "edu,id=same", "--socket-dir", deep, "--scan", "50ms",
                           "--control", self.dir / "root.sock")
        root.wait_line("same, which .* has already: ignored")
        root.wait_line("n{31}: the path of its socket would be longer than 107 bytes")

        def rounds():
            return json.loads(self.ask("box.sock", "stats", "--json"))["carrier"]["directory_requests"]
        before, deadline = rounds(), time.monotonic() + PATIENCE
        while rounds() < before + 30: # 1.5 s: the rate limit of such lines has passed
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        said = [line for line in root.lines if "ignored" in line or "longer" in line]
        self.assertEqual(len(said), 2, root.lines)

    def test_box_of_another_version(self):
        """By its directory, or when a function is asked for: said once, however often it is tried, and shown by ls."""
        for other, note in ((OtherBox((2, 3)), "speaks another version of the protocol"),
                            (OtherBox((1, 1), 3, refuses=(2, 4)), "it speaks protocol versions 2 to 4, we 1 to 1"),
                            (OtherBox((1, 1), 3, b"no suite in common"), "no suite in common"),
                            (OtherBox((1, 1), 13, b"not\nyou"), "not allowed: not?you"),
                            (OtherBox((1, 1), 999, b"x" * 127), "protocol broken: x+")):
            with self.subTest(note):
                self.addCleanup(other.close)
                root = self.root("--connect", other.address)
                root.wait_line(note.replace("?", "."))
                deadline = time.monotonic() + PATIENCE
                while other.hellos < 3 and other.versions == (1, 1):
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.02)
                self.assertEqual(len([line for line in root.lines if re.search(note.replace("?", "."), line)]), 1, root.lines)
                self.assertRegex(self.ask("root.sock", "ls"), note.replace("?", "."))
                root.stop()

    def test_two_ways_to_stop(self):
        box, _ = self.box()
        self.assertEqual(box.stop(signal.SIGINT), 0)
        box.wait_line("SIGINT: stopping")

    def test_address_in_use(self):
        _, address = self.box()
        other = self.dir / "other.img"
        other.write_bytes(b"\0" * (1 << 20))
        self.refused(["box", "--listen", address, "--control", self.dir / "b2.sock", "--device",
                      f"nvme,id=b,file={other}"], FAILED, re.escape(address.split(":", 1)[1]), "[Aa]ddress.* in use")
        self.assertIn("ssd0", self.ask("box.sock", "ls"))

    def test_control_socket_in_use(self):
        self.box()
        other = self.dir / "other.img"
        other.write_bytes(b"\0" * (1 << 20))
        self.refused(self.box_args(device=f"nvme,id=b,file={other}"), FAILED, r"control: .*box\.sock: in use by process \d+")
        self.assertIn("ssd0", self.ask("box.sock", "ls"))

    def test_stale_control_socket_is_replaced(self):
        box, _ = self.box()
        box.process.kill()
        box.process.wait()
        self.assertTrue((self.dir / "box.sock").exists())
        self.refused(["ls", "--control", self.dir / "box.sock"], FAILED, "no daemon listens there")
        self.box()
        self.assertIn("ssd0", self.ask("box.sock", "ls"))

    def test_control_paths(self):
        self.refused(self.box_args("--control", "x"), USAGE, "--control: given twice")
        device = f"nvme,id=a,file={self.image}"
        args = ["box", "--listen", "udp:127.0.0.1:0", "--device", device, "--control"]
        self.refused([*args, self.dir / "none" / "c"], FAILED, "none/c: No such file or directory")
        self.refused([*args, self.image], FAILED, "disk.img: exists and is not a socket")
        self.refused([*args, "/" + "x" * 150], USAGE, "control=/x+: must be a text of 1 to 107 bytes")

    def test_default_control_socket(self):
        """Found by ls without --control; a dead daemon's socket goes away."""
        run = self.dir / "run"
        run.mkdir()
        env = environment(XDG_RUNTIME_DIR=str(run))
        args = ["box", "--listen", "udp:127.0.0.1:0", "--device", f"nvme,id=cli-default,file={self.image}"]
        box = self.daemon(*args, env=env)
        path = pathlib.Path(box.wait_line(r"control socket (\S+)$")[1])
        self.assertEqual(path.name, f"box-{box.process.pid}.sock")
        self.assertEqual(path.stat().st_mode & 0o7777, 0o600)

        def daemons():
            done = self.run_it("ls", "--json", XDG_RUNTIME_DIR=str(run))
            return {d["control"]: d for d in json.loads(done.stdout)["daemons"]} if done.returncode == 0 else {}
        self.assertEqual(daemons()[str(path)]["functions"][0]["id"], "cli-default")
        box.process.kill()
        box.process.wait()
        self.assertNotIn(str(path), daemons())
        self.assertFalse(path.exists())

    def test_service_manager_is_told(self):
        path = self.dir / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(str(path))
            s.settimeout(PATIENCE)
            box, _ = self.box(env=environment(NOTIFY_SOCKET=str(path)))
            self.assertEqual(s.recv(100), b"READY=1")
            box.process.terminate()
            self.assertEqual(s.recv(100), b"STOPPING=1")

    def test_node_identity(self):
        """The same over restarts, another for another address."""
        def node(*args):
            box, address = self.box(*args)
            value = json.loads(self.ask("box.sock", "ls", "--json"))["node"]
            box.stop()
            return value
        self.assertEqual(node(), node())
        given = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
        self.assertEqual(node("--node", given), given)

    def test_root_without_box(self):
        """Nobody answers there: no error, for the box may come; ls says so."""
        root = self.root("--connect", "udp:127.0.0.1:9")
        ls = json.loads(self.ask("root.sock", "ls", "--json"))
        self.assertEqual([b["reachable"] for b in ls["boxes"]], [False])
        self.assertIn("box udp:127.0.0.1:9", self.ask("root.sock", "ls"))
        self.refused(["plug", "ssd0", "--control", self.dir / "root.sock"], FAILED, 'no function "ssd0"')
        self.assertEqual(root.stop(), 0)

    def function(self, name, socket_name="root.sock"):
        ls = json.loads(self.ask(socket_name, "ls", "--json"))
        return next((f for f in ls["functions"] if f["id"] == name), {})

    def wait_state(self, name, state, socket_name="root.sock"):
        deadline = time.monotonic() + PATIENCE
        while self.function(name, socket_name).get("state") != state:
            self.assertLess(time.monotonic(), deadline, f"{name}: {self.function(name, socket_name)}")
            time.sleep(0.02)

    def test_root_and_box(self):
        box, address = self.box()
        root = self.root("--connect", address)
        self.wait_state("ssd0", "ready")
        f = self.function("ssd0")
        self.assertTrue(pathlib.Path(f["socket"]).is_socket())
        self.assertEqual(f["peer"], address)
        self.assertEqual(self.function("ssd0", "box.sock")["state"], "in-use")
        stats = json.loads(self.ask("root.sock", "stats", "--json"))["functions"][0]
        self.assertGreater(stats["port"]["link"]["tx_tlps"], 0)
        self.assertGreater(sum(stats["port"]["tlp_tx"].values()), 0)
        self.assertRegex(self.ask("root.sock", "stats"), "TLPs sent .*CfgRd0 [1-9]")
        self.refused(["plug", "ssd0", "--control", self.dir / "root.sock"], FAILED, "ssd0: .*--qmp")

        # A second root that wants the same function: refused by the box, said in one line; the first is not disturbed.
        (self.dir / "s2").mkdir()
        second = self.root("--connect", address, sockets="s2", control="root2.sock")
        second.wait_line("ssd0.*another root has it")
        self.assertRegex(self.function("ssd0", "root2.sock")["note"], "another root has it")
        self.assertEqual(self.function("ssd0")["state"], "ready")
        self.assertEqual(second.stop(), 0)
        self.assertEqual(root.stop(), 0)
        self.assertFalse(pathlib.Path(f["socket"]).exists())
        self.wait_state("ssd0", "free", "box.sock")

    def test_each_tlp_is_logged(self):
        root = self.root("--device", f"nvme,id=ssd0,file={self.image}", "-vv")
        root.wait_line("ssd0 .*: sent CfgRd0 .*")
        root.wait_line("ssd0 .*: received CplD .*")

    def test_embedded_box(self):
        root = self.root("--device", f"nvme,id=ssd0,file={self.image}")
        self.wait_state("ssd0", "ready")
        self.assertIn("embedded_box", json.loads(self.ask("root.sock", "stats", "--json")))
        self.assertEqual(root.stop(), 0)

    def test_only(self):
        other = self.dir / "other.img"
        other.write_bytes(b"\0" * (1 << 20))
        _, address = self.box("--device", f"nvme,id=ssd1,file={other}")
        self.root("--connect", address, "--only", "ssd1")
        self.wait_state("ssd1", "ready")
        self.assertEqual(self.function("ssd0", "box.sock")["state"], "free")

    def test_bad_qmp(self):
        qmp = self.dir / "qmp"
        args = self.root_args("--connect", "udp:127.0.0.1:9", "--qmp", qmp, "--slot", "slot0")
        self.refused(args, FAILED, "qmp", "No such file or directory")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(qmp))
            self.refused(args, FAILED, "qmp", "[Cc]onnection refused")
            s.listen(1)

            def greet():
                client, _ = s.accept()
                client.sendall(b"220 mail ready\r\n")
                client.recv(100)
                client.close()
            thread = threading.Thread(target=greet)
            thread.start()
            self.refused(args, FAILED, "qmp")
            thread.join()


class Configuration(Case):
    def conf(self, text):
        path = self.dir / "f.conf"
        path.write_text(text)
        return path

    def test_wrong_files(self):
        self.refused(["box", "--config", self.dir / "none"], FAILED, "none: No such file or directory")
        self.refused(["box", "--config", self.dir], FAILED, "Is a directory")
        self.refused(["box", "--config", self.conf("[box]\nlistne = x\n")], USAGE,
                     r'f\.conf:2: no option "listne"; did you mean "listen"')
        self.refused(["box", "--config", self.conf("[box]\n\nmtu = 5\n")], USAGE, r"f\.conf:3: mtu=5: must be")
        self.refused(["box", "--config", self.conf("[boxx]\nmtu = 5\n")], USAGE, r'f\.conf:2: no section "\[boxx\]"')
        self.refused(["box", "--config", self.conf(""), "--config", "x"], USAGE, "--config: given twice")
        self.refused(["box", "--config", self.conf("[root]\nconnect = x\n")], USAGE, "--listen is missing")

    def example(self, name, *replacements):
        text = (SOURCE / "docs/examples" / name).read_text()
        for old, new in replacements:
            self.assertIn(old, text, name)
            text = text.replace(old, str(new))
        return self.conf(text)

    def test_examples_are_understood(self):
        for n in (0, 1):
            (self.dir / f"ssd{n}.img").write_bytes(b"\0" * (1 << 20))
        conf = self.example("box.conf", ("udp:0.0.0.0:7000", "udp:127.0.0.1:0"), ("/var/lib/farbus", self.dir))
        box = self.daemon("box", "--config", conf, "--control", self.dir / "box.sock")
        box.wait_line("ready: listening on .*; 2 functions;")
        qmp = self.dir / "vm1.qmp"
        conf = self.example("root.conf", ("192.0.2.1:7000", "127.0.0.1:9"), ("/run/farbus/sockets", self.dir / "sockets"),
                            ("/run/farbus/vm1.qmp", qmp))
        self.refused(["root", "--config", conf, "--control", self.dir / "root.sock"], FAILED, re.escape(str(qmp)),
                     "No such file or directory")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
