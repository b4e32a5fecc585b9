# SPDX-License-Identifier: Apache-2.0
"""What the network and VM tests stand on: namespaces, farbus daemons, and a guest in stock QEMU.

A test is a function `test_*(t)` in tests/netns or tests/vm whose docstring says what it shows. `t` is a Test: it owns
everything the test starts and ends it again, last first, whether the test passes, fails or is told to stop.

    net = t.net(mtu=1500)                          two namespaces, net.host and net.iobox, joined by a veth pair
    box = t.box(net, "nvme,id=ssd0,file=…")        farbus box in net.iobox, ready
    vm = t.vm(slots=2)                             QEMU in net.host if given, booted to its agent
    root = t.root(net, vm=vm)                      farbus root in net.host, with vm's QMP and slots
    root.plug("ssd0"); vm.run("mkfs.ext4 -q /dev/nvme0n1", timeout=60)

Nothing here sleeps for a fixed time: everything waits for a condition with a deadline and says what it waited for.
"""

import base64
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("FARBUS_BUILD", TOP / "build"))
VM_PARTS = TOP / "build" / "vm"
FARBUS = BUILD / "farbus"

# Deadlines are multiplied by this on a machine that is slower, or busier, than the ones they were chosen on.
PATIENCE = float(os.environ.get("FARBUS_PATIENCE", "1"))


class Failure(Exception):
    """The test did not see what it should."""


class Skip(Exception):
    """The test cannot run here; the text says why."""


def wait_for(condition, timeout, what):
    """Calls condition until it returns something true, and returns that; Failure when it has not in time."""
    deadline = time.monotonic() + timeout * PATIENCE
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Failure(f"not in {timeout * PATIENCE:g} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def check(truth, message):
    if not truth:
        raise Failure(message)


def _die_with_parent():
    prctl_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(prctl_set_pdeathsig, signal.SIGKILL)


def _command(*argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Failure(f"{shlex.join(argv)}: exit {done.returncode}: {done.stdout.strip()}")
    return done.stdout


# --- the test itself ------------------------------------------------------------------------------------------------

class Test:
    """Owns what a test starts. Logs go to build/test-logs/NAME, sockets to a temporary directory (t.tmp)."""

    def __init__(self, name, output=None):
        self.name = name
        self._undo = contextlib.ExitStack()
        self._output = output or sys.stdout
        self.started = time.monotonic()
        self._processes = []
        self._names = set()
        self.logs = self._log_directory(name)
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="fb-"))  # short: a socket's path has 107 bytes
        self.defer(shutil.rmtree, self.tmp, ignore_errors=True)
        # Images are beside the build: /tmp may be memory.
        self.disks = pathlib.Path(tempfile.mkdtemp(prefix="disks-", dir=self.logs))
        self.defer(shutil.rmtree, self.disks, ignore_errors=True)

    def _log_directory(self, name):
        """build/test-logs/NAME, or NAME.PID when another session is running the same test."""
        base = pathlib.Path(os.environ.get("FARBUS_LOGS", TOP / "build" / "test-logs"))
        for path in (base / name, base / f"{name}.{os.getpid()}"):
            path.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            for old in path.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
                else:
                    old.unlink()
            return path
        raise Failure(f"{base / name} is in use")

    def log(self, text):
        print(f"[{time.monotonic() - self.started:6.2f}] {text}", file=self._output, flush=True)

    def skip(self, why):
        raise Skip(why)

    def defer(self, function, *args, **kwargs):
        """Calls function when the test ends; the last deferred is the first called."""
        self._undo.callback(function, *args, **kwargs)

    def close(self):
        for process in self._processes:
            if process.first_to_go:
                process.signal(signal.SIGKILL)
        self._undo.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def unique(self, name):
        """name, or name-2, name-3 … when this test has used it before."""
        number, candidate = 1, name
        while candidate in self._names:
            number += 1
            candidate = f"{name}-{number}"
        self._names.add(candidate)
        return candidate

    def start(self, argv, name=None, ns=None, env=None, first_to_go=False):
        """Starts a program, output to a log file of its own, and ends it with the test."""
        process = Process(self, argv, name, ns, env)
        process.first_to_go = first_to_go
        self.defer(process.end)
        self._processes.append(process)
        return process

    def disk(self, size="256M", name="disk.img"):
        """A sparse image file."""
        path = self.disks / self.unique(name)
        units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
        with open(path, "wb") as file:
            file.truncate(int(size[:-1]) * units[size[-1]] if size[-1] in units else int(size))
        return path

    def lasts(self, seconds):
        """Lets a fault last for so long. For the length of faults only: what has an end to be seen is waited for."""
        time.sleep(seconds)

    def net(self, **options):
        net = Net(**options)
        self.defer(net.close)
        return net

    def box(self, net=None, *devices, **options):
        return Box(self, net, *devices, **options)

    def root(self, net=None, **options):
        return Root(self, net, **options)

    def vm(self, **options):
        return Vm(self, **options)

    def tails(self, lines=25):
        """The end of every log, for the report of a failure."""
        text = []
        for path in sorted(self.logs.glob("*.log")):
            content = path.read_text(errors="replace").splitlines()
            if content and content[0].startswith("$ "):  # the command
                del content[0]
            if content and path.name != "test.log":
                text.append(f"--- {path.name} (last {min(lines, len(content))} of {len(content)} lines)")
                text += content[-lines:]
        return "\n".join(text)


class Process:
    """A program that a test started. `ns` is a namespace's name."""

    def __init__(self, t, argv, name=None, ns=None, env=None):
        self.argv = [str(word) for word in argv]
        self.name = t.unique(name or os.path.basename(self.argv[0]))
        self.log = t.logs / f"{self.name}.log"
        command = (["ip", "netns", "exec", ns] if ns else []) + self.argv
        with open(self.log, "w") as log:
            log.write(f"$ {shlex.join(command)}\n")
            log.flush()
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             preexec_fn=_die_with_parent, env={**os.environ, **(env or {})})
        self.pid = self._process.pid  # `ip netns exec` becomes the program, so this is the program's own

    @property
    def returncode(self):
        return self._process.poll()

    def alive(self):
        return self._process.poll() is None

    def text(self):
        return self.log.read_text(errors="replace")

    def wait(self, timeout=10):
        """Waits for the end, with timeout=None forever; returns the exit status (negative: the signal)."""
        try:
            return self._process.wait(timeout * PATIENCE if timeout else None)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} (pid {self.pid}) did not end in {timeout * PATIENCE:g} s") from None

    def wait_log(self, pattern, timeout=10):
        """Waits for a line in its log; returns the match."""
        return wait_for(lambda: re.search(pattern, self.text()) or self.must_live(), timeout,
                        f"{self.name} to log /{pattern}/")

    def must_live(self):
        if not self.alive():
            raise Failure(f"{self.name} ended with {self.returncode}: {self.text().strip().splitlines()[-1:]}")

    def signal(self, number):
        if self.alive():
            self._process.send_signal(number)

    def term(self, timeout=10):
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait(10)

    def stop(self):
        """Freezes it, as if the machine it is on stood still."""
        self.signal(signal.SIGSTOP)

    def cont(self):
        self.signal(signal.SIGCONT)

    def end(self):
        """Ends it whatever state it is in."""
        if self.alive():
            self.cont()
            self.signal(signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()


# --- network --------------------------------------------------------------------------------------------------------

class Namespace:
    def __init__(self, name, addr, addr6):
        self.name, self.addr, self.addr6 = name, addr, addr6

    def ip(self, *argv):
        return _command("ip", "-n", self.name, *argv)

    def run(self, *argv):
        """Runs a program in the namespace to its end; returns what it printed."""
        return _command("ip", "netns", "exec", self.name, *argv)


class Net:
    """Two hosts on one wire:

         net.host  eth0 10.99.0.1 fd99::1  ----veth----  eth0 10.99.0.2 fd99::2  net.iobox
    """

    _count = 0

    def __init__(self, mtu=1500):
        Net._count += 1
        prefix = f"fb-{os.getpid()}-" if Net._count == 1 else f"fb-{os.getpid()}-{Net._count}-"
        self.host = Namespace(prefix + "host", "10.99.0.1", "fd99::1")
        self.iobox = Namespace(prefix + "iobox", "10.99.0.2", "fd99::2")
        self.both = (self.host, self.iobox)
        self._made = []
        self._sweep()
        try:
            for ns in self.both:
                _command("ip", "netns", "add", ns.name)
                self._made.append(ns)
            self.host.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.iobox.name)
            for ns in self.both:
                ns.ip("link", "set", "lo", "up")
                ns.ip("link", "set", "eth0", "mtu", str(mtu), "up")
                ns.ip("addr", "add", ns.addr + "/24", "dev", "eth0")
                ns.ip("addr", "add", ns.addr6 + "/64", "dev", "eth0", "nodad")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _sweep():
        """Removes namespaces of sessions that were killed before they could clean up."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir("/run/netns"):
                match = re.match(r"fb-(\d+)-", name)
                if match and not os.path.exists(f"/proc/{match[1]}"):
                    subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)

    def close(self):
        while self._made:
            subprocess.run(["ip", "netns", "del", self._made.pop().name], stderr=subprocess.DEVNULL)

    def set_mtu(self, mtu):
        for ns in self.both:
            ns.ip("link", "set", "eth0", "mtu", str(mtu))

    def down(self):
        """Pulls the plug: both ends see the carrier go."""
        self.iobox.ip("link", "set", "eth0", "down")

    def up(self):
        self.iobox.ip("link", "set", "eth0", "up")
        self.iobox.ip("addr", "replace", self.iobox.addr6 + "/64", "dev", "eth0", "nodad")  # went with the link

    def cut(self):
        """Loses every frame without a word: each side sends to an Ethernet address that nobody has."""
        for ns, peer in (self.both, self.both[::-1]):
            for addr in (peer.addr, peer.addr6):
                ns.ip("neigh", "replace", addr, "lladdr", "02:00:00:00:00:fb", "dev", "eth0", "nud", "permanent")

    def heal(self):
        for ns, peer in (self.both, self.both[::-1]):
            for addr in (peer.addr, peer.addr6):
                ns.ip("neigh", "del", addr, "dev", "eth0")

    def drops(self):
        """Frames each side has sent and received: {'host': {...}, 'iobox': {...}}."""
        return {ns.name: json.loads(ns.ip("-s", "-j", "link", "show", "eth0"))[0]["stats64"] for ns in self.both}


# --- farbus daemons -------------------------------------------------------------------------------------------------

def farbus(*argv, ok=True, timeout=20):
    """Runs a farbus command to its end; returns (status, output). Unless ok is False, another status than 0 fails."""
    argv = [str(FARBUS), *(str(word) for word in argv)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout * PATIENCE)
    if ok and done.returncode:
        raise Failure(f"{shlex.join(argv)}: exit {done.returncode}: {done.stdout.strip()}")
    return done.returncode, done.stdout


class Daemon:
    """A farbus box or root: the process, and its control socket."""

    def __init__(self, t, verb, args, ns, wait):
        if not FARBUS.exists():
            raise Skip(f"{FARBUS} is not built")
        self.t = t
        self.name = t.unique(verb)
        self.control = t.tmp / f"{self.name}.ctl"
        self.process = t.start([FARBUS, verb, "-v", "--control", self.control, *args], name=self.name,
                               ns=ns.name if ns else None)
        if wait:
            self.wait_ready()

    pid = property(lambda self: self.process.pid)

    def wait_ready(self, timeout=15):
        def answers():
            self.process.must_live()
            return self.control.exists() and self._command("ls", ok=False)[0] == 0
        wait_for(answers, timeout, f"{self.name} to answer on its control socket")

    def _command(self, *argv, ok=True):
        return farbus(*argv, "--control", self.control, ok=ok)

    def ls(self):
        return json.loads(self._command("ls", "--json")[1])

    def stats(self):
        return json.loads(self._command("stats", "--json")[1])

    def term(self, timeout=15):
        return self.process.term(timeout)

    def kill(self):
        return self.process.kill()


class Box(Daemon):
    """`farbus box` in net.iobox. devices are --device values."""

    PORT = 4791

    def __init__(self, t, net=None, *devices, port=PORT, listen=None, args=(), ns=None, wait=True):
        ns = ns or (net.iobox if net else None)
        self.address = listen or f"udp:{ns.addr if ns else '127.0.0.1'}:{port}"
        words = ["--listen", self.address]
        for device in devices:
            words += ["--device", device]
        super().__init__(t, "box", [*words, *args], ns, wait)


class Root(Daemon):
    """`farbus root` in net.host. With vm, it plugs into that VM's slots by itself."""

    def __init__(self, t, net=None, connect=None, vm=None, slots=None, only=None, args=(), ns=None, wait=True):
        ns = ns or (net.host if net else None)
        if connect is None:
            connect = f"udp:{net.iobox.addr if net else '127.0.0.1'}:{Box.PORT}"
        self.sockets = t.tmp / t.unique("sockets")
        self.sockets.mkdir()
        words = ["--socket-dir", self.sockets]
        for address in [connect] if isinstance(connect, str) else connect:
            words += ["--connect", address]
        if vm:
            words += ["--qmp", vm.root_qmp, "--slot", ",".join(slots or vm.slots)]
        if only:
            words += ["--only", ",".join([only] if isinstance(only, str) else only)]
        super().__init__(t, "root", [*words, *args], ns, wait)

    def socket(self, name, timeout=15):
        """The vfio-user socket of a function, once it is there."""
        path = self.sockets / f"{name}.sock"
        wait_for(path.exists, timeout, f"{self.name} to offer {path.name}")
        return path

    def device(self, name, **options):
        """The same as a device for Vm(devices=[…]) or device_add."""
        return {"driver": "vfio-user-pci", "id": name, "socket": {"type": "unix", "path": str(self.socket(name))},
                **options}

    def function(self, name):
        """What `ls` says of a function; {} when the root has not heard of it."""
        return next((f for f in self.ls()["functions"] if f["id"] == name), {})

    def wait_state(self, name, state, timeout=15, key="state"):
        """Waits for a function to be "ready", "in use" …, or with key="slot_state" to be "plugged" …"""
        wait_for(lambda: self.function(name).get(key) == state, timeout, f"{self.name}: {name}'s {key} to be {state}")

    def wait_plugged(self, name, timeout=30):
        self.wait_state(name, "plugged", timeout, "slot_state")

    def plug(self, name):
        return self._command("plug", name)[1]

    def unplug(self, name):
        return self._command("unplug", name)[1]


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
    # self-tests, no security modules.
    KERNEL = ("console=ttyS0 panic=-1 quiet mitigations=off noreplace-smp lsm= audit=0 nmi_watchdog=0 tsc=reliable "
              "random.trust_cpu=on cryptomgr.notests "
              "initcall_blacklist=crypto_kdf108_init,jent_mod_init,init_encrypted")

    # What the kernel says in this machine without any farbus device; the last lines come from a busy host.
    HARMLESS = [
        r"ACPI: IRQ 4 override to edge",
        r"amd_pstate: the _CPC object is not present",
        r"mtrr: your CPUs had inconsistent",
        r"clocksource: |tsc: |APIC calibration|APIC timer|PM-Timer|lpj=",
        r"hrtimer: interrupt took|perf: interrupt took too long|workqueue: .* hogged CPU",
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


# --- running one test -----------------------------------------------------------------------------------------------

PASSED, FAILED, SKIPPED = 0, 1, 77


def stop_on_signals():
    """SIGTERM and SIGHUP unwind like an exception, so that everything is cleaned up."""
    def stop(number, _):
        raise SystemExit(f"stopped by {signal.Signals(number).name}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def run_test(function, name):
    """Runs one test function, output to its log and to stdout; returns PASSED, FAILED or SKIPPED."""
    stop_on_signals()
    t = Test(name)
    with t:
        try:
            function(t)
            if t.logs.name != name:  # the second of two sessions leaves logs of what failed only
                t.defer(shutil.rmtree, t.logs, ignore_errors=True)
            return PASSED
        except Skip as why:
            print(f"skip: {why}", flush=True)
            return SKIPPED
        except BaseException as error:
            if isinstance(error, Failure):
                print(f"FAILED: {error}")
            else:
                import traceback
                traceback.print_exc(file=sys.stdout)
            print(t.tails(), flush=True)
            if not isinstance(error, Exception):
                raise
            return FAILED
