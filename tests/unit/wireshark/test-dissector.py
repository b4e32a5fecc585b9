#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The dissector in tshark, `farbus decode`, and each against the other, on the captures of wireshark/captures.

test-dissector.py FARBUS SOURCE_ROOT [--write]   --write: make the captures and what is expected of them anew; then look at the
                                                 difference
"""

import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import unittest

FARBUS, SOURCE = sys.argv[1], pathlib.Path(sys.argv[2])
CAPTURES = SOURCE / "wireshark/captures"
sys.path.insert(0, str(SOURCE / "tests/vm"))
from tshark import available, tshark  # noqa: E402

NAMES = ("tlps.pcapng", "link.pcap", "softpcie.pcap")

# What stands in the .expected files: no field of which Wireshark 4.0 and 4.4 print the value differently (flags).
COLUMNS = """frame.number fbtap.function fbtap.direction fbtap.error softpcie.sequence fblink.kind fblink.pos tlp.type tlp.requester
    tlp.tag tlp.addr tlp.length tlp.completer tlp.status tlp.byte_count tlp.reg tlp.msg.code fbmsg.kind fbmsg.slot fbmsg.bar
    fbmsg.offset fbmsg.rule.entries fbmsg.rule.base fbmsg.rule.shadow fbmsg.rule.event fbmsg.ahead.addr fbmsg.ahead.length
    fbmsg.index fbmsg.offer.number fbmsg.offer.seen fbmsg.offer.value fbmsg.offer.size tlp.pasid tlp.response_to
    tlp.response_in tlp.latency tlp.read.length tlp.read.completions tlp.malformed fblink.passed_over fblink.segment_from
    _ws.expert.message""".split()


def fields(path, names, *more):
    """A list of dicts, one a frame: field -> list of values."""
    args = [arg for name in names for arg in ("-e", name)]
    out = tshark(path, *more, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=|", *args)
    return [{name: value.split("|") if value else [] for name, value in zip(names, line.split("\t"))}
            for line in out.splitlines()]


def expected_text(path):
    lines = []
    for frame in fields(path, COLUMNS):
        values = [f"{name}={','.join(frame[name])}" for name in COLUMNS[1:] if frame[name]]
        lines.append(" ".join([frame["frame.number"][0], *values]))
    return "\n".join(lines) + "\n"


def farbus(*args):
    return subprocess.run([FARBUS, *map(str, args)], capture_output=True, text=True, timeout=120)


# farbus decode --tree's names to ours in Wireshark, and how to read the two values.
def binary(text):
    return int(text.split("b")[0], 2)


def first_number(text):
    return int(re.match(r"0x[0-9a-f]+|\d+", text)[0], 0)


def first_bytes(text):
    """Of "32 bytes: 0001…", and of all of them in hexadecimal."""
    match = re.match(r"(\d+) bytes: ([0-9a-f]*)", text)
    if match:
        return int(match[1]), match[2]
    text = text.replace(":", "")
    return len(text) // 2, text[:32]


SAME = {
    "Fmt": ("tlp.fmt", binary), "Type": ("tlp.type_code", binary), "TC": ("tlp.tc", int), "LN": ("tlp.ln", int),
    "TH": ("tlp.th", int), "TD": ("tlp.td", int), "EP": ("tlp.ep", int), "Attr": ("tlp.attr", binary), "AT": ("tlp.at", int),
    "Length": ("tlp.length", first_number), "Requester ID": ("tlp.requester", str), "Completer ID": ("tlp.completer", str),
    "Tag": ("tlp.tag", int), "Last DW BE": ("tlp.last_be", lambda t: int(t, 2)),
    "First DW BE": ("tlp.first_be", lambda t: int(t, 2)), "Address": ("tlp.addr", first_number), "PH": ("tlp.ph", int),
    "ST": ("tlp.st", int), "NW": ("tlp.nw", int), "Register": ("tlp.reg", first_number),
    "Ext. Register Number": ("tlp.ext_reg_number", int), "Register Number": ("tlp.reg_number", int),
    "Completion Status": ("tlp.status", first_number), "BCM": ("tlp.bcm", int), "Byte Count": ("tlp.byte_count", int),
    "Lower Address": ("tlp.lower_addr", first_number), "Message Routing": ("tlp.msg.route", first_number),
    "Message Code": ("tlp.msg.code", first_number), "Message Header Bytes 8-15": ("tlp.msg.header", first_number),
    "Vendor ID": ("tlp.msg.vendor", first_number), "No-Snoop Latency": ("tlp.msg.no_snoop_latency", first_number),
    "Snoop Latency": ("tlp.msg.snoop_latency", first_number), "Data": ("tlp.data", first_bytes),
    "TLP Digest (ECRC)": ("tlp.ecrc", first_number), "TLP Prefix": ("tlp.prefix", first_number),
    "PASID": ("tlp.pasid", first_number), "Privileged Mode Requested": ("tlp.pasid.pmr", int),
    "Execute Requested": ("tlp.pasid.exec", int),
}


def decoded(path):
    """{frame: {field of Wireshark: [values]}} by farbus decode --tree; "malformed" too."""
    frames, frame = {}, None
    for line in farbus("decode", "--tree", path).stdout.splitlines():
        head = re.match(r" *(\d+) -?[\d.]+ (.*)", line)
        if head:
            frame = frames.setdefault(int(head[1]), {})
            wrong = re.search(r"malformed: ([^(]*)", head[2])
            if wrong:
                frame.setdefault("malformed", []).append(wrong[1].strip())
        elif re.match(r"    \S", line) and frame is not None:
            name, value = line[4:33].rstrip(), line[33:]
            field, read = SAME[name]
            frame.setdefault(field, []).append(read(value))
    return frames


def number(text):
    return int(text, 0)


def packets_of(path):
    """Link type and the packets' bytes."""
    data, packets = path.read_bytes(), []
    if path.suffix == ".pcap":
        at = 24
        while at < len(data):
            size = struct.unpack_from("<I", data, at + 8)[0]
            packets.append(data[at + 16:at + 16 + size])
            at += 16 + size
        return struct.unpack_from("<I", data, 20)[0], packets
    while data:
        kind, size = struct.unpack_from("<II", data)
        if kind == 6:
            packets.append(data[28:28 + struct.unpack_from("<I", data, 20)[0]])
        data = data[size:]
    return 252, packets


class Dissector(unittest.TestCase):
    maxDiff = 4000

    def test_captures_are_what_make_py_makes(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, CAPTURES / "make.py", folder], check=True)
            for name in NAMES:
                self.assertEqual((pathlib.Path(folder) / name).read_bytes(), (CAPTURES / name).read_bytes(),
                                 f"{name}: run this test with --write, and look at what changed")

    def test_expected(self):
        for name in NAMES:
            with self.subTest(name):
                self.assertEqual(expected_text(CAPTURES / name), (CAPTURES / f"{name}.expected").read_text())

    def test_second_pass_is_like_the_first(self):
        """As in Wireshark, where each frame is dissected again whenever it is looked at."""
        for name in NAMES:
            one, two = tshark(CAPTURES / name, "-V"), tshark(CAPTURES / name, "-2", "-V")
            # Only what points forward is known better: a request's completion, where a TLP ends.
            forward = re.compile(r"^ *\[(Completion in frame|Ends in frame|Time from the request|Expert Info .*Tag used).*\n"
                                 r"|^ *\[?(Tag used again|\[Severity|\[Group).*\n|.*Reassembled.*\n", re.M)
            self.assertEqual(forward.sub("", one), forward.sub("", two), name)
            self.assertGreaterEqual(two.count("[Completion in frame"), one.count("[Completion in frame"))

    def test_same_as_farbus_decode(self):
        """Each field of each TLP, by two programs that have nothing in common."""
        names = sorted({field for field, _ in SAME.values()})
        compared = 0
        for capture in NAMES:
            mine = decoded(CAPTURES / capture)
            for frame in fields(CAPTURES / capture, ["frame.number", "tlp.malformed", *names]):
                n = int(frame["frame.number"][0])
                ours = mine.pop(n, {})
                with self.subTest(capture=capture, frame=n):
                    # tshark gives no ECRC error: it is not verified there.
                    wrong = [w for w in ours.get("malformed", []) if w != "ECRC"]
                    self.assertEqual(wrong, frame["tlp.malformed"])
                    for name in names:
                        read = next(r for f, r in SAME.values() if f == name)
                        values = [read(v) if read in (str, first_bytes) else number(v) for v in frame[name]]
                        self.assertEqual(ours.get(name, []), values, name)
                        compared += len(values)
            self.assertFalse(mine, f"frames of {capture} that only farbus decode has TLPs in")
        self.assertGreater(compared, 1200)

    def test_spoilt_packets(self):
        """Forty damaged copies of each packet: whatever they say now, the dissector has no error of its own."""
        rnd = random.Random(7)
        for name in NAMES:
            linktype, packets = packets_of(CAPTURES / name)
            out = [struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, linktype)]
            for n in range(40):
                for packet in packets:
                    spoilt = bytearray(packet)
                    for _ in range(rnd.choice((1, 2, 8, 40))):
                        # Mostly behind the headers that Wireshark itself takes apart.
                        spoilt[rnd.randrange(16 if linktype == 252 else 42 if rnd.random() < 0.9 else 12, len(spoilt))] = \
                            rnd.randrange(256)
                    if n % 4 == 0:
                        del spoilt[rnd.randrange(1, len(spoilt) + 1):]
                    out.append(struct.pack("<IIII", n, 0, len(spoilt), len(packet)) + spoilt)
            with tempfile.NamedTemporaryFile(suffix=".pcap") as f:
                f.write(b"".join(out))
                f.flush()
                self.assertGreater(len(tshark(f.name, "-V", "-2")), 100000) # which looks for errors
                self.assertEqual(farbus("decode", "--tree", "-a", f.name).returncode, 0)

    def test_filters(self):
        def frames(capture, text):
            return [int(f["frame.number"][0]) for f in fields(CAPTURES / capture, ["frame.number"], "-Y", text)]
        self.assertEqual(frames("tlps.pcapng", 'tlp.type == "MRd64" && fbtap.function == "ssd0"'), [39, 59])
        self.assertEqual(frames("tlps.pcapng", "tlp.addr == 0x123456000"), [39])
        self.assertEqual(frames("tlps.pcapng", 'tlp.requester == "01:00.0" && tlp.latency > 0.00004 && tlp.read.length'),
                         [44, 45])
        self.assertEqual(frames("tlps.pcapng", "tlp.expert.status"), [5, 10, 51, 55])
        self.assertEqual(frames("tlps.pcapng", "tlp.expert.poisoned"), [56])
        self.assertEqual(frames("softpcie.pcap", "tlp.malformed"), [8])
        self.assertEqual(frames("link.pcap", "fblink.expert.retransmission"), [11])
        self.assertEqual(frames("tlps.pcapng", "fbmsg.expert.malformed"), [69, 70, 71, 73, 77])
        self.assertEqual(frames("tlps.pcapng", "fbmsg.offer.lowers_intx == 1"), [75])
        self.assertEqual(frames("tlps.pcapng", "fbmsg.able.offers == 1"), [64])

    def test_messages_of_farbus(self):
        text = tshark(CAPTURES / "tlps.pcapng", "-Y", "fbmsg")
        for says in ("Farbus Able", "Farbus Rule slot 1 BAR 0 + 0x1008, 1024 entries of 64 bytes", "Farbus Rule slot 1 empty",
                     "Farbus Rule slot 3 BAR 0 + 0x1008, 31 pointers to blocks of 64 bytes",
                     "Farbus Ahead 0x0000000100000040 62 bytes", "Farbus Index slot 1 index 17",
                     "Farbus Offer number 7, 3 registers", "Farbus Used number 7, BAR 0 + 0xc4"):
            self.assertIn(says, text)

    def test_reasons(self):
        """Those of docs/protocol.md."""
        table = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", (SOURCE / "docs/protocol.md").read_text(), re.M)
        self.assertEqual([int(n) for n, _ in table], list(range(1, len(table) + 1)))
        lua = re.search(r"local reasons = \{(.*?)\}", (SOURCE / "wireshark/farbus/link.lua").read_text(), re.S)[1]
        self.assertEqual(re.findall(r'"(\w+)"', lua), [name for _, name in table])
        self.assertIn("REFUSE: DENIED: not you", tshark(CAPTURES / "link.pcap"))

    def test_statistics(self):
        text = tshark(CAPTURES / "tlps.pcapng", "-q", "-X", "lua_script1:stats")
        self.assertRegex(text, r"(?m)^  malformed +9 ")
        self.assertRegex(text, r"(?m)^  all +79 ")
        self.assertIn("Time from MRd64 to its last completion: 1, median 50.0 us", text)
        self.assertIn("Time from MRd32 to its last completion: 4, ", text)
        self.assertRegex(text, r"<= 16 us +3  #+")

    def test_installed_and_given(self):
        """The dissector as a plugin, and by lua_script besides: it is there once, and hears its arguments."""
        text = tshark(CAPTURES / "tlps.pcapng", "-q", "-X", "lua_script1:stats", installed=True)
        self.assertRegex(text, r"(?m)^  all +79 ")

    def test_read_is_put_together(self):
        """The 300 bytes at 0x1001, of three completions of which the first has a byte before it."""
        frame = fields(CAPTURES / "tlps.pcapng", ["tlp.read.data", "tlp.read.addr"], "-Y", "frame.number == 45")[0]
        want = b"".join(bytes((i * 7 + seed) & 0xff for i in range(n)) for n, seed in ((63, 1), (192, 2), (45, 4)))
        self.assertEqual(frame["tlp.read.data"][0].replace(":", ""), want.hex())
        self.assertEqual(number(frame["tlp.read.addr"][0]), 0x1000)


class Decode(unittest.TestCase):
    def test_hex(self):
        done = farbus("decode", "0x40000001:0000000f", "fee00000 01020304")
        self.assertEqual((done.returncode, done.stdout), (0, "MWr 00:00.0 tag 0 0xfee00000 1 DW be f/0 data 01020304\n"))
        done = farbus("decode", "0000000100000005fee00000")
        self.assertEqual(done.returncode, 0)
        done = farbus("decode", "0000004001000005fee00000")
        self.assertEqual((done.returncode, done.stdout.split(" (")[0]), (1, "malformed: byte enables"))
        for words, says in ((["40zz"], '"zz" stands at character 2'), (["123"], '"3" stands at character 2'), ([], "what?"),
                            (["/none/x.pcap"], "/none/x.pcap: no such file"), (["00" * 5000], "more than the")):
            done = farbus("decode", *words)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(says, done.stderr)

    def test_spoilt_files(self):
        """What came before the spoilt place is printed; then a line says what, and where."""
        whole = (CAPTURES / "tlps.pcapng").read_bytes()
        spoilt, at = bytearray(whole), 0
        for _ in range(3): # to the second packet
            at += int.from_bytes(whole[at + 4:at + 8], "little")
        spoilt[at + 4:at + 8] = b"\xff\xff\xff\x7f"
        old = (CAPTURES / "softpcie.pcap").read_bytes()
        for data, tlps, says in (
                (whole[:-20], 79, r"offset \d+: the file ends inside a block: \d+ of its \d+ bytes are there"),
                (whole[:1000], 9, r"offset \d+: the file ends inside a block"),
                (bytes(spoilt), 1, rf"offset {at}: a block of 2147483647 bytes: must be a multiple of 4"),
                (old[:-3], 8, r"offset 1626: the file ends inside packet 14: 53 of its 56 bytes are there"),
                (old[:24] + b"\xff" * 16, 0, r"offset 24: a packet of 4294967295 bytes"),
                (b"", 0, "offset 0: the file is empty"), (b"GIF89a", 0, "offset 0: neither pcapng nor pcap: it begins with 47 49"),
                (old[:10], 0, "the file ends inside its header"), (b"\x0a\x0d\x0d\x0a" + b"x" * 40, 0, "byte-order magic")):
            with tempfile.NamedTemporaryFile() as f:
                f.write(data)
                f.flush()
                done = farbus("decode", f.name)
                self.assertEqual(done.returncode, 1, says)
                self.assertRegex(done.stderr, rf"(?m)^farbus: {re.escape(f.name)}: .*{says}")
                self.assertIn(f"decode: {tlps} TLPs in", done.stderr)

    def test_standard_input(self):
        done = subprocess.run([FARBUS, "decode", "-"], input=(CAPTURES / "link.pcap").read_bytes(), capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"10 TLPs in 21 packets, 5 problems", done.stderr)


def write():
    subprocess.run([sys.executable, CAPTURES / "make.py", CAPTURES], check=True)
    for name in NAMES:
        (CAPTURES / f"{name}.expected").write_text(expected_text(CAPTURES / name))


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
        sys.exit()
    del sys.argv[1:3]
    if not available():
        print("tshark is not installed: only farbus decode is tested")
        del Dissector
    unittest.main()
