# SPDX-License-Identifier: Apache-2.0
"""A device that another program is: the box as a client of a vfio-user server, all the way to a guest's driver."""

import scenes
from farbus_vm import check, wait_for

TIMEOUT = 420
INNER_PORT = 4792


def counters(box, name="x0"):
    return next(f for f in box.stats()["functions"] if f["id"] == name)["model"]


def server(t, net, drive, sockets=None):
    """An NVMe drive behind a vfio-user socket, of a box and a root of its own: (box, root, socket)."""
    inner = t.box(net, drive, port=INNER_PORT)
    root = t.root(net, ns=net.iobox, connect=inner.address, sockets=sockets)
    return inner, root, root.socket("ssd0")


def chain(t, options, carried):
    """A drive that survives its server's death. `carried`: what must have been counted above 100, and all else below."""
    net = t.net()
    drive = scenes.nvme(t, size="128M")
    inner_box, inner, socket = server(t, net, drive)
    box = t.box(net, f"vfio-user,id=x0,socket={socket}{options}")
    vm = t.vm(net=net)
    root = t.root(net, vm=vm)
    root.wait_plugged("x0")
    scenes.drive_comes(vm, timeout=60)
    shown = vm.run("lspci -nn -d fab5:")
    check("[fab5:0001]" in shown and "[0108]" in shown, f"lspci: {shown}")
    scenes.use(vm)
    vm.run(scenes.verify(size="8M"), timeout=240)
    # A reset by the guest reaches the server; the drive works after it.
    resets = counters(box)["resets"]
    vm.run("echo 1 >/sys/class/nvme/nvme0/reset_controller", timeout=60)
    scenes.use(vm)
    seen = counters(box)
    for key in ("dma_refused", "interrupts_lost", "errors", "timeouts", "protocol_errors"):
        check(seen[key] == 0, f"{key} is {seen[key]}: {seen}")
    for key in ("dma_reads", "dma_writes", "interrupts", "nvme_commands", "nvme_completions"):
        check((seen.get(key, 0) > 100) == (key in carried), f"{key} is {seen.get(key)}: {seen}")
    check(seen["resets"] >= resets, f"{seen}")
    scenes.nothing_lost(root, "x0")

    # The server dies: the guest loses the drive. Another one takes its place: the guest has it back, with its data.
    vm.run("head -c 65536 /dev/urandom >/tmp/pattern && dd if=/tmp/pattern of=/dev/nvme0n1 bs=64k oflag=direct 2>/dev/null")
    inner.kill()
    inner_box.kill()
    scenes.drive_goes(vm, timeout=60)
    wait_for(lambda: counters(box)["server_up"] == 0, 10, "the box to say that the server is gone")
    server(t, net, drive, inner.sockets)
    scenes.drive_comes(vm, timeout=90)
    vm.run("dd if=/dev/nvme0n1 of=/tmp/again bs=64k count=1 iflag=direct 2>/dev/null && cmp /tmp/pattern /tmp/again")
    check(counters(box)["connects"] >= 2, f"{counters(box)}")
    vm.allow(*scenes.TORN_OUT, *scenes.SERVER_GONE)
    vm.quit()


def test_vfio_user_chain(t):
    """guest - root - UDP - box - vfio-user socket - root - UDP - box - nvme: memory accesses are carried, as messages."""
    chain(t, ",nvme=off", ("dma_reads", "dma_writes", "interrupts"))


def test_vfio_user_nvme(t):
    """The same, but the server maps the box's memory, as SPDK's does, and commands are carried."""
    chain(t, "", ("interrupts", "nvme_commands", "nvme_completions"))
