# SPDX-License-Identifier: Apache-2.0
"""The 82576 model against Debian's igb driver.

    guest eth  --igb--  VM ==root== net.host ----veth---- net.iobox ==box== tap0 10.77.0.1 (peer: the same namespace)

The tap device in net.iobox has the peer's address, and iperf3 servers listen there.
"""

import json
import re

import scenes
from farbus_vm import check, wait_for

TIMEOUT = 600

PEER, GUEST = "10.77.0.1", "10.77.0.2"
PEER6, GUEST6 = "fd77::1", "fd77::2"
MAC = "02:fb:00:00:00:01"


def tap(net, name="tap0", mtu=1500):
    net.iobox.ip("tuntap", "add", name, "mode", "tap")
    net.iobox.ip("link", "set", name, "mtu", str(mtu), "up")
    net.iobox.ip("addr", "add", f"{PEER}/24", "dev", name)
    net.iobox.ip("addr", "add", f"{PEER6}/64", "dev", name, "nodad")


def nic(**options):
    options = {"id": "nic0", "tap": "tap0", "mac": MAC, **options}
    return "igb," + ",".join(f"{key}={value}" for key, value in options.items())


def name_in(vm, mac=MAC):
    """The interface's name in the guest, once it is there."""
    return vm.until(f"basename $(dirname $(grep -il '^{mac}$' /sys/class/net/*/address))", 60, "the guest's NIC").strip()


def up(vm, mtu=1500):
    eth = name_in(vm)
    vm.run(f"ip link set {eth} mtu {mtu} up && ip addr add {GUEST}/24 dev {eth} && "
           f"ip addr add {GUEST6}/64 dev {eth} nodad")
    vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 30, "the guest's link to come up")
    return eth


def scene(t, device=None, root_args=(), **vm_options):
    net = t.net()
    tap(net)
    box = t.box(net, device or nic())
    vm = t.vm(net=net, modules=("igb",), **vm_options)
    root = t.root(net, vm=vm, args=root_args)
    root.wait_plugged("nic0")
    return net, box, vm, root


def iperf(vm, words, reverse=False):
    """iperf3 from the guest to the peer; its figures, of the receiving side."""
    text = vm.run(f"iperf3 -J -c {PEER} {words} {'-R' if reverse else ''}", timeout=60)
    end = json.loads(text)["end"]
    return end["sum"] if "-u" in words else end["sum_received"]


def test_igb_first(t):
    net, box, vm, root = scene(t)
    eth = up(vm)
    t.start(["iperf3", "-s"], ns=net.iobox.name)
    print(vm.run(f"ping -c 100 -i 0.01 -q {PEER}"))
    for words in ("-t 3", "-t 3 -R", "-t 3 -u -b 1G", "-t 3 -u -b 1G -R"):
        print(words, iperf(vm, words))
    print(json.dumps(box.stats()["functions"][0]["model"], indent=1))
    scenes.nothing_lost(root, "nic0")
    vm.quit()
