# SPDX-License-Identifier: Apache-2.0
"""The failure table of the design, line by line, with a real guest. The link's and the models' own tests show the same
lines without one."""

import subprocess

import scenes
from farbus_vm import check, wait_for

TIMEOUT = 400


def test_bad_wire(t):
    """Line 1: datagrams lost, doubled, reordered, corrupted: nothing visible but time (fio --verify over 1 % loss)."""
    fault = ["--fault", "drop=1%,reorder=2%,dup=0.5%,corrupt=0.1%,seed=7"]
    _, _, vm, root = scenes.main_job(t, box_args=fault, root_args=fault)
    vm.run(scenes.verify(), timeout=180)
    scenes.use(vm)
    scenes.nothing_lost(root)
    link = next(f["port"]["link"] for f in root.stats()["functions"] if f["id"] == "ssd0")
    check(link["retransmits"] > 0, "nothing was retransmitted: the faults did not happen")
    vm.quit()


def test_short_outage(t):
    """Line 2: the network is gone for less than the answer time: nothing visible but time."""
    net, _, vm, root = scenes.main_job(t)
    job = vm.spawn(scenes.verify())
    wait_for(lambda: scenes.counters(root)["dma_read_bytes"] > 1 << 20, 30, "fio to have begun")
    for _ in range(2):
        net.cut()
        t.lasts(1)
        net.heal()
        before = scenes.counters(root)["dma_read_bytes"]
        wait_for(lambda: job.done() is not None or scenes.counters(root)["dma_read_bytes"] > before, 15,
                 "traffic after the outage")
    job.wait(120)
    scenes.nothing_lost(root)
    vm.quit()


def test_outage_within_hold_time(t):
    """Line 3: the network is gone for longer, but less than the hold time: what was under way waits and happens once."""
    net, _, vm, root = scenes.main_job(t)
    job = vm.spawn(scenes.verify())
    wait_for(lambda: scenes.counters(root)["dma_read_bytes"] > 1 << 20, 30, "fio to have begun")
    net.down()
    t.lasts(8)
    net.up()
    job.wait(150)
    check(root.function("ssd0")["slot_state"] == "plugged", "the function was unplugged")
    check(scenes.counters(root)["surprise_removals"] == 0, "the function was torn out")
    scenes.use(vm)
    vm.quit()


def test_outage_beyond_hold_time(t):
    """Line 4: the network is gone beyond the hold time: surprise removal; line 5: then it comes again, fresh."""
    hold = ["--hold", "3s"]
    net, _, vm, root = scenes.main_job(t, box_args=hold, root_args=hold)
    vm.allow(*scenes.TORN_OUT, *scenes.SERVER_GONE)
    net.cut()
    scenes.drive_goes(vm, timeout=60)
    check(vm.run("echo alive") == "alive\n", "the guest does not live")
    net.heal()
    root.wait_plugged("ssd0", 60)
    scenes.drive_comes(vm)
    scenes.use(vm)
    vm.quit()


def test_box_killed_and_back(t):
    """Line 4: the box is killed in the middle of writes: surprise removal, the guest lives; line 5: it comes again."""
    hold = ["--hold", "3s"]
    device = scenes.nvme(t)
    net, box, vm, root = scenes.main_job(t, root_args=hold, box_args=hold, device=device)
    vm.allow(*scenes.TORN_OUT, *scenes.SERVER_GONE)
    job = vm.spawn(scenes.verify())
    wait_for(lambda: scenes.counters(root)["dma_read_bytes"] > 1 << 20, 30, "fio to have begun")
    box.kill()
    scenes.drive_goes(vm, timeout=60)
    job.wait(60, ok=False)
    check(job.done() != 0, "fio did not notice")
    t.box(net, device, args=hold)
    root.wait_plugged("ssd0", 60)
    scenes.drive_comes(vm)
    scenes.use(vm)
    vm.quit()


def test_root_stopped(t):
    """Line 6: root stopped: it first unplugs what it plugged, so that QEMU is left whole (and survives a reset)."""
    _, _, vm, root = scenes.main_job(t)
    scenes.use(vm)
    check(root.term(40) == 0, "root did not end cleanly")
    scenes.drive_goes(vm)
    vm.reset()
    check(vm.run("echo alive") == "alive\n", "the guest does not live")
    vm.quit()


def test_root_killed(t):
    """Line 7: root killed: QEMU loses the device, the VM lives; a new root plugs the function again."""
    net, _, vm, root = scenes.main_job(t)
    vm.allow(*scenes.TORN_OUT, *scenes.SERVER_GONE)
    # QEMU 11.1.3 aborts when a message is on its way at that moment: until the guest has looked at its new drive.
    scenes.quiet(vm, root)
    root.kill()
    check(vm.run("echo alive", timeout=60) == "alive\n", "the guest does not live")
    root = t.root(net, vm=vm)
    root.wait_plugged("ssd0", 90)
    scenes.drive_comes(vm, timeout=60)
    scenes.use(vm)
    vm.quit()


def test_qemu_killed(t):
    """Line 8: QEMU killed in the middle of writes: the function is reset and serves the next VM."""
    net = t.net()
    t.box(net, scenes.nvme(t))
    root = t.root(net)
    vm = t.vm(net=net, devices=[root.device("ssd0", bus="slot0")])
    vm.spawn(scenes.verify())
    wait_for(lambda: scenes.counters(root)["dma_read_bytes"] > 1 << 20, 30, "fio to have begun")
    vm.kill()
    root.wait_state("ssd0", "ready", 30)
    vm = t.vm(net=net, devices=[root.device("ssd0", bus="slot0")])
    scenes.use(vm)
    vm.quit()


def test_disk_full(t):
    """Line 10: the disk under a model is full: the guest gets the device's own error status, and it all goes on."""
    place = t.tmp / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", place], check=True)
    t.defer(subprocess.run, ["umount", "-l", place], check=True)
    image = place / "disk.img"
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    _, box, vm, _ = scenes.main_job(t, device=scenes.nvme(t, file=image))
    vm.allow(*scenes.TORN_OUT)
    status, text = vm.run(f"dd if=/dev/zero of={scenes.DRIVE} bs=1M count=32 oflag=direct", ok=False, timeout=60)
    check(status != 0, f"the write succeeded: {text}")
    vm.run(f"dd if={scenes.DRIVE} of=/dev/null bs=64k count=8 iflag=direct status=none")
    check(box.process.alive(), "the box died")
    vm.quit()


def test_file_truncated(t):
    """Line 10: the file under a model is cut short: reads beyond its end are errors to the guest, the rest goes on."""
    image = t.disk("64M")
    _, box, vm, _ = scenes.main_job(t, device=scenes.nvme(t, file=image))
    vm.allow(*scenes.TORN_OUT)
    with open(image, "r+b") as file:
        file.truncate(1 << 20)
    status, text = vm.run(f"dd if={scenes.DRIVE} of=/dev/null bs=64k skip=512 count=1 iflag=direct", ok=False)
    check(status != 0, f"a read beyond the end of the file succeeded: {text}")
    vm.run(f"dd if={scenes.DRIVE} of=/dev/null bs=64k count=4 iflag=direct status=none")
    check(box.process.alive(), "the box died")
    vm.quit()


def test_sigterm_keeps_flushed_data(t):
    """Line 11: SIGTERM to the box: it ends cleanly, and what the guest was told is flushed is in the file."""
    image = t.disk("64M")
    _, box, vm, _ = scenes.main_job(t, device=scenes.nvme(t, file=image), root_args=["--hold", "3s"])
    vm.allow(*scenes.TORN_OUT, *scenes.SERVER_GONE)
    vm.run(f"yes 0123456789abcde | dd of={scenes.DRIVE} bs=1M count=4 iflag=fullblock conv=fsync status=none")
    check(box.term(20) == 0, "the box did not end cleanly")
    with open(image, "rb") as file:
        check(file.read(4 << 20) == b"0123456789abcde\n" * (1 << 18), "the file holds something else")
    scenes.drive_goes(vm, timeout=60)
    vm.quit()
