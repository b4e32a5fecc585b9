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

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
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
        self._complaints = []
        self.logs = self._log_directory(name)
        self._sanitizers_report_here()
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

    def _sanitizers_report_here(self):
        """Sanitized programs, whoever starts them, end at the first error and write of it to self.logs."""
        common = f"log_path={self.logs / 'sanitizer'}:abort_on_error=1:halt_on_error=1:print_stacktrace=1"
        os.environ["ASAN_OPTIONS"] = f"{common}:detect_leaks=1:detect_stack_use_after_return=1"
        os.environ["UBSAN_OPTIONS"] = common

    def complain(self, text):
        """Fails the test at its end, whatever else it sees."""
        self._complaints.append(text)

    def complaints(self):
        """Of daemons that ended as they should not, and of sanitizers; complete when everything has ended."""
        reports = sorted(self.logs.glob("sanitizer.*"))
        return self._complaints + [f"{path.name}:\n" + "\n".join(path.read_text(errors="replace").splitlines()[:60])
                                   for path in reports]

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

    def start(self, argv, name=None, ns=None, env=None, first_to_go=False, daemon=False):
        """Starts a program, output to a log file of its own, and ends it with the test. The test fails unless a daemon,
        if the test has not killed it, lives until it is told to end, and then ends well."""
        process = Process(self, argv, name, ns, env)
        process.first_to_go = first_to_go
        self.defer(process.end_well if daemon else process.end)
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
        from guest import Vm  # which needs this module
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
        self._t = t
        self._killed = False
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
        self._killed = True
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

    def end_well(self):
        """Ends a daemon, and sees to it that it ends as it should."""
        if self._killed:
            return
        self.cont()
        self.signal(signal.SIGTERM)
        try:
            status = self._process.wait(15 * PATIENCE)
        except subprocess.TimeoutExpired:
            status = f"{self.kill()}: it did not heed SIGTERM"
        if status:
            self._t.complain(f"{self.name} (pid {self.pid}) ended with {status}")


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
                               ns=ns.name if ns else None, daemon=True)
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

    def __init__(self, t, net=None, connect=None, vm=None, slots=None, only=None, args=(), ns=None, wait=True,
                 sockets=None):
        ns = ns or (net.host if net else None)
        if connect is None:
            connect = f"udp:{net.iobox.addr if net else '127.0.0.1'}:{Box.PORT}"
        self.sockets = sockets or t.tmp / t.unique("sockets")
        self.sockets.mkdir(exist_ok=True)
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


# --- running one test -----------------------------------------------------------------------------------------------

PASSED, FAILED, SKIPPED = 0, 1, 77


def stop_on_signals():
    """SIGTERM and SIGHUP unwind like an exception, so that everything is cleaned up."""
    def stop(number, _):
        raise SystemExit(f"stopped by {signal.Signals(number).name}")
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup wants it
        signal.signal(signal.SIGHUP, stop)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell starts in the background


def run_test(function, name):
    """Runs one test function, output to its log and to stdout; returns PASSED, FAILED or SKIPPED."""
    stop_on_signals()
    t = Test(name)
    with t:
        word = _run(function, t)
    complaints = t.complaints()
    if complaints:
        word = FAILED
        print("FAILED: " + "\n".join(complaints), flush=True)
    if word == PASSED and t.logs.name != name:  # the second of two sessions leaves logs of what failed only
        shutil.rmtree(t.logs, ignore_errors=True)
    return word


def _run(function, t):
    try:
        function(t)
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
