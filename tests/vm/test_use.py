# SPDX-License-Identifier: Apache-2.0
"""The main job in its variants: plugged at boot or hot, one or several functions, VMs and kinds of guest memory."""

import scenes
from farbus_vm import FARBUS, check

TIMEOUT = 600
PLAIN = ["test_hot_plug"]  # what users run


def test_boot_with_drive(t):
    """A VM that boots with the function plugged uses it, by MSI-X; QEMU and kernel have nothing to complain of."""
    net = t.net()
    t.box(net, scenes.nvme(t))
    root = t.root(net)
    vm = t.vm(net=net, devices=[root.device("ssd0", bus="slot0")])
    scenes.use(vm)
    check(root.function("ssd0")["interrupts"] == "msix", f"interrupts: {root.function('ssd0')['interrupts']}")
    scenes.nothing_lost(root)
    vm.quit()
    root.wait_state("ssd0", "ready")


def test_hot_plug(t):
    """A function is plugged into a running VM by QMP and pciehp, used, and unplugged."""
    _, box, vm, root = scenes.main_job(t)
    scenes.use(vm)
    for command in ("nvme id-ctrl /dev/nvme0", "nvme id-ns /dev/nvme0n1", "nvme smart-log /dev/nvme0",
                    "nvme error-log /dev/nvme0", "lspci -vvv"):
        vm.run(command)
    scenes.nothing_lost(root)
    root.unplug("ssd0")
    scenes.drive_goes(vm)
    vm.quit()
    check(root.term() == 0 and box.term() == 0, "root or box did not end cleanly")


def test_plug_20_times(t):
    """Ten rounds of plug and unplug of two functions: twenty hot-plugs into one guest."""
    net = t.net()
    t.box(net, scenes.nvme(t, "a"), scenes.nvme(t, "b"))
    vm = t.vm(net=net, slots=2)
    root = t.root(net, vm=vm)
    for number in range(10):
        if number:
            for name in ("a", "b"):
                root.plug(name)
        for name in ("a", "b"):
            root.wait_plugged(name)
        vm.until("test $(ls -d /dev/nvme?n1 | wc -l) = 2", 30, f"two drives in the guest, round {number}")
        vm.run("for drive in /dev/nvme?n1; do dd if=/dev/urandom of=$drive bs=64k count=4 oflag=direct status=none || "
               "exit; done")
        jobs = [t.start([FARBUS, "unplug", name, "--control", root.control], name=f"unplug-{name}-{number}")
                for name in ("a", "b")]
        for job in jobs:
            check(job.wait(60) == 0, f"unplug failed in round {number}: {job.text()}")
        vm.until("! ls /dev/nvme?n1 2>/dev/null", 30, "the guest to let go of both")
    vm.quit()


def test_guest_reboots(t):
    """The guest reboots, and is reset, with the function plugged, and uses it afterwards."""
    _, _, vm, root = scenes.main_job(t)
    vm.run(f"dd if=/dev/urandom of={scenes.DRIVE} bs=64k count=4 oflag=direct status=none")
    for again in (vm.reboot, vm.reset):
        again()
        scenes.drive_comes(vm)
        scenes.use(vm)
    scenes.nothing_lost(root)
    vm.quit()


def test_plain_memory(t):
    """Guest memory without a file descriptor: all DMA goes through the vfio-user socket."""
    _, _, vm, root = scenes.main_job(t, shared=False)
    scenes.use(vm)
    check(scenes.counters(root)["dma_messages"] > 0, "no DMA message was counted")
    check("0x102" not in vm.run("nvme id-ctrl /dev/nvme0 | grep oacs"), "shadow doorbells are offered, far from the memory")
    scenes.nothing_lost(root)
    vm.quit()


def test_two_functions_in_one_vm(t):
    """Two functions of one box in one VM, in use at once; each keeps its own data."""
    net = t.net()
    images = [t.disk("64M", f"{name}.img") for name in "ab"]
    t.box(net, *(scenes.nvme(t, name, file=image) for name, image in zip("ab", images)))
    vm = t.vm(net=net, slots=2)
    root = t.root(net, vm=vm)
    for name in "ab":
        root.wait_plugged(name)
    drives = ["/dev/nvme0n1", "/dev/nvme1n1"]
    for drive in drives:
        scenes.drive_comes(vm, drive)
    jobs = [vm.spawn(scenes.verify(drive, "8M")) for drive in drives]
    for job in jobs:
        job.wait(120)
    for drive in drives:
        vm.run(f"nvme id-ctrl {drive[:-2]} | awk '/^sn / {{ print $3 }}' | dd of={drive} bs=512 conv=sync oflag=direct "
               "status=none")
    starts = {image.open("rb").read(6).decode() for image in images}
    check(len(starts) == 2 and all(start.startswith("FB") for start in starts), f"the images begin with {starts}")
    vm.quit()


def test_two_vms_on_one_root(t):
    """One root serves two VMs, a function each, in use at once."""
    net = t.net()
    t.box(net, scenes.nvme(t, "a"), scenes.nvme(t, "b"))
    root = t.root(net)
    vms = [t.vm(net=net, name=f"vm-{name}", devices=[root.device(name, bus="slot0")]) for name in "ab"]
    jobs = [vm.spawn(scenes.verify(size="8M")) for vm in vms]
    for job in jobs:
        job.wait(120)
    for name, vm in zip("ab", vms):
        scenes.nothing_lost(root, name)
        vm.quit()


def test_two_roots_on_one_box(t):
    """One box serves two roots, a function each; a function in use is refused to the other."""
    net = t.net()
    t.box(net, scenes.nvme(t, "a"), scenes.nvme(t, "b"))
    roots = [t.root(net, only=name) for name in "ab"]
    vms = [t.vm(net=net, name=f"vm-{name}", devices=[root.device(name, bus="slot0")])
           for name, root in zip("ab", roots)]
    for vm in vms:
        scenes.use(vm)
    third = t.root(net, only="a")
    check(third.function("a").get("state") != "ready", "a function in use was given to a second root")
    for vm in vms:
        vm.quit()


def test_below_a_switch(t):
    """Plug and unplug in a slot of a PCIe switch."""
    net = t.net()
    t.box(net, scenes.nvme(t))
    vm = t.vm(net=net, slots=0, switch=2)
    root = t.root(net, vm=vm, slots=["down1"])
    root.wait_plugged("ssd0")
    scenes.drive_comes(vm)
    scenes.use(vm)
    root.unplug("ssd0")
    scenes.drive_goes(vm)
    vm.quit()
