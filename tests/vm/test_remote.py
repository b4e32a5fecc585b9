# SPDX-License-Identifier: Apache-2.0
"""Remote memory of a real guest: what it has written is found from another host, and what that writes the guest reads."""

import json
import subprocess

import scenes
from farbus_vm import FARBUS, PATIENCE, check

TIMEOUT = 600
PORT = 7100


def find_and_change(t, shared):
    net, _, vm, root = scenes.main_job(t, shared=shared, root_args=["--dma-listen", "udp:10.99.0.1:7100", "--allow-dma",
                                                                    "all,peer=10.99.0.2"])

    def dma(verb, *words):
        done = subprocess.run(["ip", "netns", "exec", net.iobox.name, str(FARBUS), "dma", verb, f"udp:{net.host.addr}:{PORT}/ssd0",
                               *map(str, words)], capture_output=True, timeout=200 * PATIENCE)
        check(done.returncode == 0, f"dma {verb} {words}: {done.stderr.decode()}")
        return done.stdout
    # The whole needle is in that file's page only: neither command nor answer has it in one piece.
    number = vm.run("cat /proc/sys/kernel/random/uuid | tee /tmp/number").strip()
    vm.run("mkdir -p /run/needle && mount -t tmpfs none /run/needle && "
           "{ printf 'needle:'; cat /tmp/number; } >/run/needle/file && sync")
    found = json.loads(dma("scan", 0, "512M", "--text", f"needle:{number}", "--json"))
    t.log(f"scan: {found['mapped_bytes'] >> 20} MiB in {found['seconds']:.1f} s, {found['hits']} hits")
    check(found["complete"] and found["hits"] >= 1, f"the needle is not found: {found}")
    check(found["mapped_bytes"] >= 500 << 20, f"only {found['mapped_bytes']} bytes are mapped")
    check(json.loads(dma("scan", 0, "512M", "--text", "Linux version ", "--json"))["hits"] >= 1, "no kernel banner")
    for address in found["found"]:
        check(dma("read", hex(address), 43, "--out", "-") == f"needle:{number}".encode(), "a hit that is none")
        dma("write", hex(address), "--text", "farbus")
    check(vm.run("cat /run/needle/file").strip() == f"farbus:{number}", "the guest does not see what was written")
    scenes.use(vm)  # and its drive works as before
    remote = root.stats()["remote"]["counters"]
    check(shared == (remote["messages"] == 0), f"messages: {remote}")
    scenes.nothing_lost(root)
    vm.check()


def test_memory_file(t):
    """Guest memory that came with a file descriptor."""
    find_and_change(t, True)


def test_messages(t):
    """Guest memory without one: every byte goes through QEMU."""
    find_and_change(t, False)
