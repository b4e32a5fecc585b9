# SPDX-License-Identifier: Apache-2.0
"""The 82576 model against Debian's igb driver.

    guest eth  --igb--  VM ==root== net.host ----veth---- net.iobox ==box== tap0 10.77.0.1 (peer: the same namespace)

The tap device in net.iobox has the peer's address, and iperf3 servers listen there.
"""

import json
import pathlib
import re
import sys

import scenes
from farbus_vm import check, wait_for

TIMEOUT = 600
HERE = pathlib.Path(__file__).resolve().parent

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


def at_boot(t):
    """The NIC is there from the boot on, with MSI-X and two processors; it is up, and its peer serves iperf3."""
    net = t.net()
    tap(net)
    box = t.box(net, nic())
    root = t.root(net, args=["--msix", "on"])
    vm = t.vm(net=net, modules=("igb",), smp=2, devices=[{**root.device("nic0"), "bus": "slot0"}])
    eth = up(vm)
    t.start(["iperf3", "-s", "--forceflush"], ns=net.iobox.name).wait_log("Server listening")
    return box, vm, root, eth


def iperf(vm, words="", peer=PEER):
    """iperf3 from the guest to the peer; what arrived, in bits a second, and the whole report."""
    report = json.loads(vm.run(f"iperf3 -J -c {peer} {words}", timeout=60))
    end = report["end"]
    return (end["sum"] if "-u" in words else end["sum_received"])["bits_per_second"], report


def ping(vm, peer=PEER, size=56, count=5, more=""):
    vm.run(f"ping -q -c {count} -i 0.05 -W 5 -s {size} {more} {peer}", timeout=30)


def stream(vm, root, words="-p 5300 -t 300", more=1 << 20):
    """Starts a TCP stream from the guest to the peer; returns the job once it is under way."""
    job = vm.spawn(f"iperf3 -c {PEER} {words}")
    flows(root, more)
    return job


def flows(root, more=1 << 20):
    """Waits until `more` bytes have left the guest from now on."""
    before = scenes.counters(root, "nic0")["dma_read_bytes"]
    wait_for(lambda: scenes.counters(root, "nic0")["dma_read_bytes"] > before + more, 30, "the stream to run")


def model(box, name="nic0"):
    return next(f["model"] for f in box.stats()["functions"] if f["id"] == name)


def statistics(vm, eth):
    return {key: int(value) for key, value in re.findall(r"^\s+(\S+): (\d+)$", vm.run(f"ethtool -S {eth}"), re.M)}


def test_igb_traffic(t):
    """Plugged over the network into a hot-plug slot (one MSI vector): ping, TCP and UDP both ways, large frames, VLAN."""
    net, box, vm, root = scene(t)
    eth = up(vm)
    t.start(["iperf3", "-s", "--forceflush"], ns=net.iobox.name).wait_log("Server listening")
    for size in (0, 56, 1472, 4000):  # the last in fragments
        ping(vm, size=size)
    ping(vm, PEER6)
    for words in ("-t 1", "-t 1 -R", "-t 1 -6", "-t 1 -u -b 50M", "-t 1 -u -b 50M -R"):
        rate, _ = iperf(vm, words, PEER6 if "-6" in words else PEER)
        check(rate > 5e6, f"iperf3 {words}: {rate / 1e6:.1f} Mb/s")
    count = model(box)
    check(count["tx_offloaded"] > 0 and count["rx_segments"] > 0, f"nobody cut large packets: {count}")
    check(count["tx_errors"] == count["dma_errors"] == count["unknown_writes"] == 0, f"{box.stats()}")

    # Without the guest's offloads it is the same; with a checksum that is wrong, the guest is told.
    vm.run(f"ethtool -K {eth} tso off gso off tx off rx off sg off")
    check(iperf(vm, "-t 1")[0] > 5e6 and iperf(vm, "-t 1 -R")[0] > 5e6, "without offloads")
    vm.run(f"ethtool -K {eth} tso on gso on tx on rx on sg on")

    # Jumbo frames: three descriptors a frame and more.
    net.iobox.ip("link", "set", "tap0", "mtu", "9000")
    vm.run(f"ip link set {eth} mtu 9000")
    vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 30, "the link after the change of the MTU")
    ping(vm, size=8972, more="-M do")
    check(iperf(vm, "-t 1")[0] > 5e6 and iperf(vm, "-t 1 -R")[0] > 5e6, "MTU 9000")

    # VLAN 77: the tag is inserted and stripped by the device, and filtered.
    t.start([sys.executable, HERE / "vlan_peer.py", "tap0", 77, "10.77.77.1"], name="vlan",
            ns=net.iobox.name).wait_log("ready")
    vm.run(f"ip link add link {eth} name v77 type vlan id 77 && ip addr add 10.77.77.2/24 dev v77 && ip link set v77 up")
    ping(vm, "10.77.77.1")
    ping(vm, "10.77.77.1", size=8000)
    vm.run(f"ethtool -K {eth} rxvlan off txvlan off")
    vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 30, "the link after the change of VLAN offloads")
    ping(vm, "10.77.77.1")
    scenes.nothing_lost(root, "nic0")
    ours, theirs = root.stats()["functions"][0]["counters"], box.stats()["functions"][0]["counters"]
    check(ours["reads_offered"] > 0 and ours["bad_offers"] == theirs["bad_offers"] == theirs["bad_uses"] == 0,
          f"ICR ahead of the interrupt: {ours}, {theirs}")
    vm.quit()


def test_igb_ethtool(t):
    """ethtool -i -S -g -k -T -d -e -c say sane things, -t passes, -G and -C change rings; the link
    follows the tap device; promiscuous and multicast modes pass what they should."""
    net, box, vm, root = scene(t)
    eth = up(vm)
    ping(vm)
    check("driver: igb" in vm.run(f"ethtool -i {eth}"), "ethtool -i")
    check("(PCIe:2.5Gb/s:Width x4)" in vm.run("dmesg"), "what igb says of its link")
    links = [line.strip() for line in vm.run("lspci -vv -d 8086:10c9").splitlines() if "LnkCap:" in line or "LnkSta:" in line]
    check(len(links) == 2 and all("Speed 2.5GT/s" in line and "Width x4" in line for line in links), f"lspci: {links}")
    text = vm.run(f"ethtool {eth}")
    for line in ("Speed: 1000Mb/s", "Duplex: Full", "Link detected: yes", "Port: Twisted Pair"):
        check(line in text, f"ethtool: {text}")
    check("hardware-transmit" in vm.run(f"ethtool -T {eth}"), "ethtool -T")
    check("tcp-segmentation-offload: on" in vm.run(f"ethtool -k {eth}"), "ethtool -k")
    eeprom = vm.run(f"ethtool -e {eth} offset 0 length 6").split("\n")[2].split()[1:]
    check(":".join(eeprom) == MAC, f"ethtool -e: {eeprom}")
    registers = vm.run(f"ethtool -d {eth}")
    check("Link up:                           yes" in registers or "0x00008" in registers, f"ethtool -d: {registers[:400]}")
    before = statistics(vm, eth)
    ping(vm, count=20)
    vm.until(f"test $(ethtool -S {eth} | awk '$1 == \"rx_packets:\" {{print $2}}') -ge {before['rx_packets'] + 20}", 10)
    after = statistics(vm, eth)
    check(after["tx_packets"] - before["tx_packets"] >= 20, f"ethtool -S: {before} {after}")
    wrong = {key: value for key, value in after.items() if value and ("err" in key or "drop" in key or "fail" in key)}
    check(not wrong, f"ethtool -S counts {wrong}")

    text = vm.run(f"ethtool -t {eth} offline", timeout=90)  # the link test, which is all of "online", too
    check("The test result is PASS" in text, f"ethtool -t: {text}")
    vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 30, "the link after the self-test")
    ping(vm)
    vm.run(f"ethtool -G {eth} rx 80 tx 80")
    vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 30, "the link after the change of the rings")
    ping(vm, size=1400, count=100)
    vm.run(f"ethtool -C {eth} rx-usecs 1000")
    ping(vm)

    # The cable is pulled, and put in again.
    net.iobox.ip("link", "set", "tap0", "down")
    vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 0", 10, "the guest to see the link go")
    net.iobox.ip("link", "set", "tap0", "up")
    vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 10, "the guest to see the link come")
    net.iobox.ip("addr", "replace", f"{PEER6}/64", "dev", "tap0", "nodad")
    ping(vm)
    vm.run(f"ip link set {eth} down && ip link set {eth} up")
    vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 10, "the link after down and up")
    ping(vm)

    # Frames to another address: only when promiscuous.
    net.iobox.ip("neigh", "replace", "10.77.0.9", "lladdr", "02:fb:00:00:00:99", "dev", "tap0")
    for mode, key in (("off", "rx_filtered"), ("on", "rx_frames")):
        vm.run(f"ip link set {eth} promisc {mode}")
        before = model(box)[key]
        net.iobox.run("bash", "-c", "for i in 1 2 3; do echo x >/dev/udp/10.77.0.9/9; done")
        wait_for(lambda: model(box)[key] >= before + 3, 5, f"three more {key} with promisc {mode}")
    vm.allow("igb .*: (offline|online) testing", "testing unshared interrupt")
    scenes.nothing_lost(root, "nic0")
    vm.quit()


# Most of these reset the controller; in the end all is as it was.
UNDER_TRAFFIC = ("-A rx off tx off", "-A rx on tx on", "-G rx 80 tx 80", "-G rx 256 tx 256", "-L combined 1", "-L combined 2",
                 "-C rx-usecs 1000", "-C rx-usecs 3", "-K tso off gso off", "-K tso on gso on", "-K tx off rx off sg off",
                 "-K tx on rx on sg on tso on", "-K rxvlan off txvlan off", "-K rxvlan on txvlan on", "-K rx-all on",
                 "-K rx-all off", "-r", "-t online", "-t offline")


def test_igb_ethtool_under_traffic(t):
    """What ethtool changes while a TCP stream runs: each works, and the stream is under way again in a few seconds."""
    box, vm, root, eth = at_boot(t)
    job = stream(vm, root, "-t 600")
    for change in (*UNDER_TRAFFIC, *UNDER_TRAFFIC[:6]):
        option, *words = change.split()
        text = vm.run(f"ethtool {option} {eth} {' '.join(words)}", timeout=90)
        check(option != "-t" or "The test result is PASS" in text, text)
        vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 30, f"the link after {change}")
        if change == "-t offline":  # 15 s without link: how long TCP waits after that is its own affair
            ping(vm)
            vm.run("pkill iperf3")
            wait_for(lambda: job.done() is not None, 20, "the stream to end")
            job = stream(vm, root, "-t 600")
        flows(root)
    check(job.done() is None, f"the stream ended: {job.done() is not None and job.output()}")
    check(model(box)["dma_errors"] == 0, f"{model(box)}")
    vm.allow("igb .*: (offline|online) testing", "testing unshared interrupt", "igb .*: Reset adapter")  # link lost with work queued
    scenes.nothing_lost(root, "nic0")
    vm.quit()


def test_igb_queues(t):
    """Plugged at boot with MSI-X: a vector for each of the queues, RSS spreads streams, moderation and all else work."""
    box, vm, root, eth = at_boot(t)
    check("MSI-X" in vm.run("dmesg | grep 'igb.*Using'"), "no MSI-X")
    for words in ("-t 1 -P 4", "-t 1 -P 4 -R"):
        check(iperf(vm, words)[0] > 5e6, f"iperf3 {words}")
    count = statistics(vm, eth)
    check(all(count[f"rx_queue_{q}_packets"] > 0 and count[f"tx_queue_{q}_packets"] > 0 for q in range(2)),
          f"a queue has had nothing: {count}")
    text = vm.run(f"ethtool -t {eth} offline", timeout=90)
    check("The test result is PASS" in text, f"ethtool -t: {text}")
    vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 30, "the link after the self-test")
    ping(vm, count=20)
    check(model(box)["dma_errors"] == 0, f"{model(box)}")
    scenes.nothing_lost(root, "nic0")
    vm.quit()


def test_igb_vlan_iface(t):
    """VLAN 77 on a packet socket: the host takes the tag out of frames, and the box puts it in again; checksums that either
    side leaves open are done at the right place."""
    net = t.net()
    net.iobox.ip("link", "add", "nicside", "type", "veth", "peer", "name", "peer")
    for name in ("nicside", "peer"):
        net.iobox.ip("link", "set", name, "up")
    box = t.box(net, f"igb,id=nic0,iface=nicside,mac={MAC}")
    vm = t.vm(net=net, modules=("igb",))
    root = t.root(net, vm=vm)
    root.wait_plugged("nic0")
    eth = up(vm)
    peer = t.start([sys.executable, HERE / "vlan_peer.py", "peer", 77, "10.77.77.1"], name="vlan", ns=net.iobox.name)
    peer.wait_log("ready")
    vm.run(f"ip link add link {eth} name v77 type vlan id 77 && ip addr add 10.77.77.2/24 dev v77 && ip link set v77 up")
    for offload in ("on", "off"):
        vm.run(f"ethtool -K {eth} tx {offload} rx {offload}")
        vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 30, "the link after the change of offloads")
        ping(vm, "10.77.77.1", size=1400)
        text = "x" * 1001
        said = vm.run(f"bash -c 'exec 3<>/dev/udp/10.77.77.1/7; echo {text} >&3; timeout 20 dd bs=2000 count=1 status=none <&3'")
        check(said.strip() == text, f"UDP echo, offloads {offload}: {said!r}\n{peer.text()}")
    check(model(box)["backend_errors"] == 0, f"{model(box)}")
    scenes.nothing_lost(root, "nic0")
    vm.quit()


def test_igb_comes_and_goes(t):
    """Unplugged and plugged again under traffic; then the box is killed under traffic: surprise removal; it comes back and
    works. On an interface that exists, by a packet socket."""
    net = t.net()
    net.iobox.ip("link", "add", "nicside", "type", "veth", "peer", "name", "peer")
    for name in ("nicside", "peer"):
        net.iobox.ip("link", "set", name, "up")
    net.iobox.ip("addr", "add", f"{PEER}/24", "dev", "peer")
    device = f"igb,id=nic0,iface=nicside,mac={MAC}"
    hold = ["--hold", "3s"]
    box = t.box(net, device, args=hold)
    vm = t.vm(net=net, modules=("igb",))
    root = t.root(net, vm=vm, args=hold)
    root.wait_plugged("nic0")
    t.start(["iperf3", "-s", "--forceflush"], ns=net.iobox.name).wait_log("Server listening")

    def works():
        eth = name_in(vm)
        vm.run(f"ip link set {eth} up && ip addr replace {GUEST}/24 dev {eth}")
        vm.until(f"test $(cat /sys/class/net/{eth}/carrier) = 1", 30, "the guest's link")
        ping(vm)
        check(iperf(vm, "-t 1")[0] > 5e6 and iperf(vm, "-t 1 -R")[0] > 5e6, "iperf3 over a packet socket")

    works()
    t.start(["iperf3", "-s", "-p", 5300, "--forceflush"], ns=net.iobox.name).wait_log("Server listening")
    stream(vm, root)
    root.unplug("nic0")
    vm.until("! grep -il '^" + MAC + "$' /sys/class/net/*/address", 30, "the NIC to be gone")
    root.plug("nic0")
    root.wait_plugged("nic0")
    works()
    stream(vm, root)
    box.kill()
    vm.until("! grep -il '^" + MAC + "$' /sys/class/net/*/address", 60, "the NIC to be gone with its box")
    t.box(net, device, args=hold)
    root.wait_plugged("nic0", 60)
    works()
    vm.allow("igb", "pcieport .*(Slot|Link|pciehp)", "pciehp", *scenes.SERVER_GONE)
    vm.quit()


def test_igb_outage(t):
    """The network is away while a stream runs: for less than the answer time of 2 s, and, where that was made long, for longer.
    The stream goes on, the link stays up, the guest's kernel has nothing to say."""
    net, _, vm, root = scene(t, root_args=["--answer-time", "12s"])
    known = vm.qmp("qom-get", path="/machine/peripheral/farbus-nic0", property="x-msg-timeout")
    check(known == 15000, f"QEMU gives up after {known} ms")
    eth = up(vm)
    t.start(["iperf3", "-s", "--forceflush"], ns=net.iobox.name).wait_log("Server listening")
    changes = vm.run(f"cat /sys/class/net/{eth}/carrier_changes")
    job = stream(vm, root, "-J -t 25")
    for seconds in (1, 6):
        net.cut()
        t.lasts(seconds)
        net.heal()
        flows(root)
    report = json.loads(job.wait(120))
    check("error" not in report and report["end"]["sum_received"]["bytes"] > 1 << 20, f"{report.get('error')}")
    check(vm.run(f"cat /sys/class/net/{eth}/carrier_changes") == changes, "the link went down")
    longest = root.stats()["functions"][0]["times"]["access"]["max_ns"]
    check(longest > 2.5e9, f"no read had to wait, the longest took {longest / 1e9:.1f} s")
    ping(vm)
    scenes.nothing_lost(root, "nic0")
    vm.quit()


def test_igb_replug(t):
    """The network is away for longer than the answer time, and the driver gives its NIC up. With --replug it comes anew, and
    works, once the network is there again."""
    net, _, vm, root = scene(t, root_args=["--replug", "nic0"])
    eth = up(vm)
    t.start(["iperf3", "-s", "--forceflush"], ns=net.iobox.name).wait_log("Server listening")
    stream(vm, root, "-t 300")
    index = vm.run(f"cat /sys/class/net/{eth}/ifindex")
    net.cut()
    t.lasts(12)  # a read of a register comes within 2 s, and then two more that look whether the NIC is there at all
    net.heal()
    vm.until(f"grep -vq '^{index.strip()}$' $(dirname $(grep -il '^{MAC}$' /sys/class/net/*/address))/ifindex", 60, "a new NIC")
    # What the kernel says of a NIC that is lost depends on who notices it first; the network's watchdog may print a trace.
    said = vm.run("dmesg -c")
    check("PCIe link lost" in said, "the driver has not noticed: nothing was shown")
    check(not re.search("BUG:|Oops|rcu: INFO|hung_task|blocked for more", said), said)
    root.wait_plugged("nic0")
    up(vm)
    ping(vm)
    check(scenes.counters(root, "nic0")["surprise_removals"] == 0, "it was torn out")
    vm.quit()
