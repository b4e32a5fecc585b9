# SPDX-License-Identifier: Apache-2.0
"""A guest in stock QEMU: Vm starts it, runs commands in it through its agent, and drives QEMU by QMP.

Tests make one by `t.vm(…)`. The agent (tools/guest/init) answers on a virtio-serial port of its own, so nothing that is
printed on the console can be taken for an answer.
"""

import base64
import contextlib
import json
import os
import re
import select
import shlex
import socket
import time

from farbus_vm import PATIENCE, VM_PARTS, Failure, Skip, wait_for


# --- QMP ------------------------------------------------------------------------------------------------------------

class QmpError(Failure):
    pass


class Lines:
    """Lines over a unix stream socket."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.setblocking(False)
        self._data = bytearray()

    def close(self):
        self._socket.close()

    def send(self, line):
        self._socket.settimeout(10 * PATIENCE)
        self._socket.sendall(line.encode() + b"\n")
        self._socket.setblocking(False)

    def receive(self, deadline):
        """The next line; None when there is none by the deadline; EOFError when the other end is gone."""
        scanned = 0
        while True:
            end = self._data.find(b"\n", scanned)
            if end >= 0:
                line = self._data[:end].decode(errors="replace")
                del self._data[:end + 1]
                return line
            scanned = len(self._data)
            left = max(0, deadline - time.monotonic())
            if not select.select([self._socket], [], [], left)[0]:
                return None
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self._data += data


class Qmp:
    def __init__(self, path):
        self._lines = Lines(path)
        self.events = []
        self._id = 0
        self._read(time.monotonic() + 10 * PATIENCE)  # greeting
        self.execute("qmp_capabilities")

    def close(self):
        self._lines.close()

    def _read(self, deadline):
        line = self._lines.receive(deadline)
        return None if line is None else json.loads(line)

    def execute(self, command, arguments=None, timeout=30):
        self._id += 1
        message = {"execute": command, "id": self._id}
        if arguments:
            message["arguments"] = arguments
        self._lines.send(json.dumps(message))
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            reply = self._read(deadline)
            if reply is None:
                raise Failure(f"QMP {command}: no answer in {timeout * PATIENCE:g} s")
            if "event" in reply:
                self.events.append(reply)
            elif reply.get("id") == self._id:
                if "error" in reply:
                    raise QmpError(f"QMP {command}: {reply['error']['desc']}")
                return reply["return"]

    def wait_event(self, name, timeout=30, match=lambda data: True):
        """The oldest event of that name that matches, which is then forgotten."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            for event in self.events:
                if event["event"] == name and match(event.get("data", {})):
                    self.events.remove(event)
                    return event.get("data", {})
            reply = self._read(deadline)
            if reply is None:
                raise Failure(f"QMP: no event {name} in {timeout * PATIENCE:g} s")
            if "event" in reply:
                self.events.append(reply)


# --- the virtual machine --------------------------------------------------------------------------------------------

class GuestError(Failure):
    """A command in the guest ended with another status than 0."""

    def __init__(self, command, status, output):
        super().__init__(f"guest: `{command}`: exit {status}: {output.strip()[-2000:]}")
        self.status, self.output = status, output


class Job:
    """A command that runs on in the guest; it ends with the guest."""

    def __init__(self, vm, command):
        self.vm, self.command = vm, command
        vm._jobs += 1
        self._file = f"/run/job{vm._jobs}"
        script = f"{{\n{command}\n}}"
        vm.run(f"(setsid bash -c {shlex.quote(script)} >{self._file}.out 2>&1 </dev/null; "
               f"echo $? >{self._file}.new; mv {self._file}.new {self._file}.rc) >/dev/null 2>&1 &")

    def output(self):
        return self.vm.run(f"cat {self._file}.out")

    def done(self):
        """None while it runs, else its exit status."""
        status = self.vm.run(f"cat {self._file}.rc 2>/dev/null || true").strip()
        return int(status) if status else None

    def wait(self, timeout=60, ok=True):
        """Waits for its end; returns its output. Unless ok is False, another status than 0 fails."""
        wait_for(lambda: self.done() is not None, timeout, f"guest's `{self.command}` to end")
        status, output = self.done(), self.output()
        if ok and status:
            raise GuestError(self.command, status, output)
        return output


class Vm:
    """Stock QEMU with an unmodified Debian guest.

    slots     empty hot-plug slots: root ports slot0, slot1 …; with switch=N also a PCIe switch below a further root
              port with N downstream ports down0, down1 …
    shared    guest memory comes with a file descriptor; False: plain memory, DMA goes through the vfio-user socket
    devices   what is plugged at boot: dicts as for device_add
    modules   drivers that the guest loads before its agent answers
    serial_shell  a shell on the serial console too, to be reached at vm.serial
    root_qmp  a second QMP socket, for farbus root; given the path of an earlier VM's, it stands in that one's place
    """

    # Each speeds up boot under emulation and leaves the PCI and NVMe code alone: no patching for CPU bugs, no crypto
    # self-tests, no security modules; and no check that the timer ticks, which panics when the host is busy.
    KERNEL = ("console=ttyS0 panic=-1 quiet mitigations=off noreplace-smp lsm= audit=0 nmi_watchdog=0 tsc=reliable "
              "no_timer_check random.trust_cpu=on cryptomgr.notests "
              "initcall_blacklist=crypto_kdf108_init,jent_mod_init,init_encrypted")

    # What the kernel says in this machine without any farbus device; the last lines come from a busy host.
    HARMLESS = [
        r"ACPI: IRQ 4 override to edge",
        r"amd_pstate: the _CPC object is not present",
        r"mtrr: your CPUs had inconsistent",
        r"clocksource: |tsc: |APIC calibration|APIC timer|PM-Timer|lpj=",
        r"hrtimer: interrupt took|perf: interrupt took too long|workqueue: .* hogged CPU|hpet: Lost \d+ RTC interrupts",
    ]

    def __init__(self, t, name="vm", net=None, ns=None, memory="512M", shared=True, smp=1, slots=1, switch=0,
                 devices=(), drives=(), args=(), modules=("nvme",), append="", serial_shell=False, root_qmp=None,
                 wait=True):
        qemu = VM_PARTS / "qemu-system-x86_64"
        if not qemu.exists() or not (VM_PARTS / "guest").exists():
            raise Skip("QEMU and the guest are not made yet: tools/guest/make.py makes them")
        self.t = t
        self.name = t.unique(name)
        self.console = t.logs / f"{self.name}.console.log"
        self.qmp_path, self.root_qmp, self.serial, agent = (
            t.tmp / f"{self.name}.{kind}" for kind in ("qmp", "rqmp", "serial", "agent"))
        self.root_qmp = root_qmp or self.root_qmp
        self.slots = [f"slot{n}" for n in range(slots)]
        self.downs = [f"down{n}" for n in range(switch)]
        self.allowed = list(self.HARMLESS)
        self.boot_time = None
        self._boot_id = None
        self._jobs = self._commands = 0
        self._qmp = self._agent = None
        ns = ns or (net.host if net else None)

        kernel = f"{self.KERNEL} farbus.modules={','.join(modules)} {append}".strip()
        if serial_shell:
            kernel += " farbus.shell"
        argv = [qemu, "-nodefaults", "-no-user-config", "-display", "none",
                "-M", "q35", "-accel", os.environ.get("FARBUS_ACCEL", "tcg"), "-smp", str(smp), "-m", memory,
                "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
                "-kernel", VM_PARTS / "guest/vmlinux", "-initrd", VM_PARTS / "guest/initramfs", "-append", kernel,
                "-chardev", f"socket,id=console,path={self.serial},server=on,wait=off,logfile={self.console}",
                "-serial", "chardev:console",
                "-device", "virtio-serial-pci",
                "-chardev", f"socket,id=agent,path={agent},server=on,wait=off",
                "-device", "virtserialport,chardev=agent,name=farbus.agent"]
        for path in (self.qmp_path, self.root_qmp):
            argv += ["-qmp", f"unix:{path},server=on,wait=off"]
        if shared:
            argv += ["-object", f"memory-backend-memfd,id=m0,size={memory},share=on", "-machine", "memory-backend=m0"]
        for number, slot in enumerate(self.slots, 1):
            argv += ["-device", f"pcie-root-port,id={slot},chassis={number},slot={number},"
                                "mem-reserve=8M,pref64-reserve=64M"]
        if switch:
            argv += ["-device", "pcie-root-port,id=swport,chassis=64,slot=64,mem-reserve=64M,pref64-reserve=512M",
                     "-device", "x3130-upstream,id=switch,bus=swport"]
            for number, down in enumerate(self.downs, 65):
                argv += ["-device", f"xio3130-downstream,id={down},bus=switch,chassis={number},slot={number}"]
        for drive in drives:
            argv += ["-drive", drive]
        for device in devices:
            argv += ["-device", json.dumps(device)]

        started = time.monotonic()
        self.process = t.start([*argv, *args], name=f"{self.name}.qemu", ns=ns.name if ns else None,
                               first_to_go=True)
        t.defer(self._close)
        self._qmp = self._connect(Qmp, self.qmp_path)
        self._agent = self._connect(Lines, agent)
        if wait:
            self.wait_boot()
            self.boot_time = time.monotonic() - started
            t.log(f"{self.name}: booted in {self.boot_time:.1f} s")

    pid = property(lambda self: self.process.pid)

    def _connect(self, kind, path):
        def attempt():
            try:
                return kind(path)
            except (FileNotFoundError, ConnectionRefusedError):
                self.process.must_live()
        return wait_for(attempt, 15, f"QEMU to listen on {path.name}")

    def _close(self):
        for connection in (self._qmp, self._agent):
            if connection:
                connection.close()

    # -- agent

    def _agent_line(self, deadline, what):
        try:
            line = self._agent.receive(deadline)
        except EOFError:
            with contextlib.suppress(Failure):
                self.process.wait(2)
            raise Failure(f"QEMU ended ({self.process.returncode}) while waiting for {what}: "
                          f"{self.process.text().strip().splitlines()[-1]}") from None
        if line is None:
            last = self.console.read_text(errors="replace").strip().splitlines()[-1:]
            raise Failure(f"{self.name}: no {what} in time; last on its console: {last}")
        return line

    def wait_boot(self, timeout=60):
        """Waits until the agent of a boot not seen before is there."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            word, _, boot = self._agent_line(deadline, "agent's hello").partition(" ")
            if word == "HELLO" and boot != self._boot_id:
                self._boot_id = boot
                return

    def run(self, command, timeout=30, ok=True):
        """Runs a command with the guest's bash; returns its output, or with ok=False (status, output)."""
        self._commands += 1
        limit = int(timeout * PATIENCE) + 1
        self._agent.send(f"{self._commands} {limit} {base64.b64encode(command.encode()).decode()}")
        deadline = time.monotonic() + limit + 15 * PATIENCE
        while True:
            words = self._agent_line(deadline, f"answer to `{command}`").split(" ")
            if words[0] == "HELLO":
                self._boot_id = words[1]
                raise Failure(f"guest started anew during `{command}`")
            if words[0] == str(self._commands):
                break
        status, output = int(words[1]), base64.b64decode(words[2]).decode(errors="replace")
        if ok:
            if status == 124:
                raise Failure(f"guest: `{command}` did not end in {limit} s: {output.strip()[-2000:]}")
            if status:
                raise GuestError(command, status, output)
            return output
        return status, output

    def spawn(self, command):
        """Starts a command in the guest and leaves it running; returns a Job."""
        return Job(self, command)

    def write(self, path, data):
        """Puts a small file into the guest."""
        data = data.encode() if isinstance(data, str) else data
        self.run(f"base64 -d >{shlex.quote(str(path))} <<<{base64.b64encode(data).decode()}")

    def until(self, command, timeout=30, what=None):
        """Runs a command in the guest again and again until it succeeds; returns its output."""
        def succeeded():
            status, output = self.run(command, ok=False)
            return (output or True) if status == 0 else None
        output = wait_for(succeeded, timeout, what or f"guest's `{command}` to succeed")
        return "" if output is True else output

    # -- QMP

    def qmp(self, command, arguments=None, timeout=30, **more):
        """Runs a QMP command; returns its answer. QmpError when QEMU refuses."""
        try:
            return self._qmp.execute(command, {**(arguments or {}), **more}, timeout)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.process.wait(5)
            raise Failure(f"QEMU ended with {self.process.returncode} during {command}") from None

    def wait_event(self, name, timeout=30, match=lambda data: True):
        return self._qmp.wait_event(name, timeout, match)

    def device_add(self, device, slot=None):
        self.qmp("device_add", {**device, **({"bus": slot} if slot else {})})

    def device_del(self, name, timeout=30):
        """Asks the guest to let go of a device and waits until it has."""
        self.qmp("device_del", id=name)
        self.wait_event("DEVICE_DELETED", timeout, lambda data: data.get("device") == name)

    # -- life

    def reset(self, timeout=60):
        """Presses the reset button, and waits for the guest to be up again."""
        self.qmp("system_reset")
        self.wait_boot(timeout)

    def reboot(self, timeout=60):
        """The guest itself reboots."""
        self.run("(sleep 0.1; echo b >/proc/sysrq-trigger) >/dev/null 2>&1 &")
        self.wait_boot(timeout)

    def kill(self):
        """kill -9"""
        return self.process.kill()

    def quit(self, check=True, timeout=20):
        """Checks what the guest and QEMU have said, and ends QEMU."""
        if check:
            self.check()
        with contextlib.suppress(Failure, EOFError):
            self._qmp.execute("quit")
        status = self.process.wait(timeout)
        if status:
            raise Failure(f"QEMU ended with {status}: {self.process.text().strip().splitlines()[-1]}")

    # -- what was said

    def allow(self, *patterns):
        """Takes lines that match for harmless in check()."""
        self.allowed += patterns

    def warnings(self):
        """What the guest's kernel has said at level warning or worse, less what is harmless."""
        lines = self.run("dmesg --level=emerg,alert,crit,err,warn").splitlines()
        return [line for line in lines if not any(re.search(pattern, line) for pattern in self.allowed)]

    def qemu_said(self):
        """What QEMU has said, less what is harmless."""
        lines = self.process.text().splitlines()[1:]
        return [line for line in lines if line and not any(re.search(pattern, line) for pattern in self.allowed)]

    def check(self):
        """Failure if the guest's kernel or QEMU has complained of anything."""
        for who, lines in (("guest kernel", self.warnings()), ("QEMU", self.qemu_said())):
            if lines:
                raise Failure(f"{self.name}: {who} said:\n  " + "\n  ".join(lines[:20]))
