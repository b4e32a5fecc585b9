#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what the VM tests run in, once, under build/vm:

  qemu-system-x86_64   wrappers: QEMU with vfio-user-pci, the host's own if it is new enough, else a trixie root's
  qemu-img, qemu-nbd
  guest/vmlinux        Debian's stock kernel, unpacked (QEMU starts it by PVH, which saves the guest unpacking it)
  guest/initramfs      Debian programs, the modules the tests need, and our init

Nothing is built when the recipe (this file and init) has not changed. Everything is made in a temporary directory and
renamed into place, so an interrupted run leaves no half-made part. The package mirror is the one this machine's apt is
configured with.
"""

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
VM = TOP / "build" / "vm"

SUITE = "trixie"
LIBS = "usr/lib/x86_64-linux-gnu"
LOADER = LIBS + "/ld-linux-x86-64.so.2"
PROGRAMS = ("qemu-system-x86_64", "qemu-img", "qemu-nbd")

QEMU_PACKAGES = ["qemu-system-x86", "qemu-utils"]
QEMU_DROPS = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/icons", "var", "dev", "proc", "sys"]

GUEST_PACKAGES = """linux-image-amd64 bash coreutils util-linux mount kmod pciutils pci.ids nvme-cli fio e2fsprogs
    iproute2 iputils-ping iperf3 ethtool smartmontools hdparm nbd-client procps grep sed mawk findutils diffutils
    tar gzip""".split()

# Modules that init may load, their dependencies come along. pciehp, virtio_pci and virtio_console are built in.
GUEST_MODULES = """nvme igb igbvf 8021q sata_sil24 ahci e1000e virtio_blk virtio_net nbd ext4 crc32c_generic crc32c-intel
    libcrc32c sd_mod sg loop dm-mod""".split()

# What came along as dependencies and the guest has no use for; the libraries that only these need stay out as well.
UNWANTED = re.compile(r"(python|pydoc|perl|py3|pdb|systemd|journal|smartd$|udev|busctl|gawk|debconf|deb-systemd|dpkg|"
                      r"run0|kernel-install|update-|.*initramfs|.*user(add|del|mod|dbctl)|adduser|apparmor|apt|.*ctl$|tc$)")
REQUIRED = """bash xargs dmesg fio nvme lspci mkfs.ext4 fsck.ext4 iperf3 ping ip ethtool smartctl hdparm nbd-client modprobe
    sha256sum mount blkdiscard timeout base64 awk""".split()


def say(text):
    print(f"vm: {text}", flush=True)


def fail(text):
    sys.exit(f"vm: {text}")


def out(*argv):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def recipe(*files):
    digest = hashlib.sha256()
    for name in files:
        digest.update((HERE / name).read_bytes() + b"\0")
    return digest.hexdigest()


def mirror():
    """The main Debian archive among this machine's apt sources, as apt itself reads them."""
    codename = ""
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            codename = line.split("=", 1)[1].strip('"')
    rows = out("apt-get", "indextargets", "--format", "$(SITE)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)",
               "Created-By: Packages").splitlines()
    for want in (codename, "stable", "oldstable", SUITE):
        for row in rows:
            site, release, component, origin = row.split("|")
            if release == want and component == "main" and origin in ("Debian", "", "$(ORIGIN)"):
                return site
    fail("apt on this machine has no source for Debian's main archive (see apt-get indextargets)")


def proxies():
    """apt's proxy and retry settings, which mmdebstrap does not take over by itself."""
    options = []
    for line in out("apt-config", "dump").splitlines():
        if re.match(r'(?i)acquire::(https?::(proxy|verify|ca|timeout)|retries)', line) and '"";' not in line:
            options.append("--aptopt=" + line)
    return options


def bootstrap(target, packages, backports):
    """Downloads the packages with all they depend on and unpacks them; no maintainer script runs."""
    site = mirror()
    say(f"taking Debian {SUITE} packages from {site}")
    argv = ["mmdebstrap", "--mode=root", "--variant=extract", "--architectures=amd64", *proxies(),
            "--include=" + ",".join(packages)]
    sources = [f"deb {site} {SUITE} main"]
    if backports:
        argv.append(f'--aptopt=APT::Default-Release "{SUITE}-backports"')
        sources.append(f"deb {site} {SUITE}-backports main")
    argv += [SUITE, str(target), *sources]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, start_new_session=True)
    try:
        said, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)  # mmdebstrap and the apt that it runs
        process.wait()
        raise
    if process.returncode:
        fail("mmdebstrap failed:\n" + "\n".join(said.splitlines()[-20:]))


def drop(root, *names):
    for name in names:
        for path in root.glob(name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


class Part:
    """One directory under build/vm that is either whole and current, or absent."""

    def __init__(self, name, stamp):
        self.path = VM / name
        self.stamp = stamp

    def current(self):
        stamp = self.path / ".recipe"
        return stamp.is_file() and stamp.read_text() == self.stamp

    def make(self, build):
        started = time.monotonic()
        work = pathlib.Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=VM))
        try:
            new = work / "new"
            new.mkdir()
            build(new, work)
            (new / ".recipe").write_text(self.stamp)
            if self.path.exists():
                self.path.rename(work / "old")
            new.rename(self.path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        say(f"{self.path.name} made in {time.monotonic() - started:.0f} s")


# --- QEMU ---------------------------------------------------------------------------------------------------------

def host_qemu():
    """The host's QEMU, if it knows vfio-user-pci and is at least 10.1."""
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        return None
    version = re.search(r"version (\d+)\.(\d+)", out(qemu, "--version"))
    if not version or (int(version[1]), int(version[2])) < (10, 1):
        return None
    return qemu if '"vfio-user-pci"' in out(qemu, "-device", "help") else None


def build_qemu(new, work):
    say("no QEMU >= 10.1 with vfio-user-pci here; unpacking one from backports")
    root = new / "root"
    bootstrap(root, QEMU_PACKAGES, backports=True)
    drop(root, *QEMU_DROPS)


def write_wrapper(name, text):
    path = VM / name
    fresh = VM / f".{name}.new"
    fresh.write_text("#!/bin/sh\n" + text)
    fresh.chmod(0o755)
    fresh.rename(path)


def wrap_host(qemu):
    write_wrapper("qemu-system-x86_64", f'exec "{qemu}" "$@"\n')
    for name in PROGRAMS[1:]:
        found = shutil.which(name)
        write_wrapper(name, f'exec "{found}" "$@"\n' if found else f'echo "{name} is not installed" >&2\nexit 127\n')


def wrap_root():
    """Runs a program of the trixie root by that root's own loader: no chroot, so it sees this machine's files.

    QEMU finds its firmware and its own modules by option and environment, so nothing of it is taken from the host.
    """
    text = f"""root=$(dirname "$(readlink -f "$0")")/qemu/root
libs=$root/{LIBS}
export QEMU_MODULE_DIR="$libs/qemu"
exec "$root/{LOADER}" --library-path "$libs" --argv0 "$0" "$root/usr/bin/%s" %s "$@"
"""
    firmware = '-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu"'
    for name in PROGRAMS:
        write_wrapper(name, text % (name, firmware if name.startswith("qemu-system") else ""))


def qemu():
    found = host_qemu()
    if found:
        wrap_host(found)
        say(f"QEMU: {found}")
        return
    part = Part("qemu", repr((SUITE, QEMU_PACKAGES, QEMU_DROPS)))
    if not part.current():
        part.make(build_qemu)
    wrap_root()


# --- guest --------------------------------------------------------------------------------------------------------

def unpack_kernel(image):
    """vmlinux out of a bzImage (Documentation/arch/x86/boot.rst, payload_offset), if it is zstd; else None."""
    data = image.read_bytes()
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = ((data[0x1f1] or 4) + 1) * 512 + offset
    payload = data[start:start + length - 4]
    if payload[:4] != b"\x28\xb5\x2f\xfd":
        return None
    return subprocess.run(["zstd", "-dc"], input=payload, check=True, stdout=subprocess.PIPE).stdout


def wanted_programs(root):
    for folder in ("usr/bin", "usr/sbin"):
        for path in sorted((root / folder).iterdir()):
            if not UNWANTED.match(path.name) or path.name in REQUIRED:
                yield path


def libraries(root, program):
    """The shared libraries that a program loads, by asking the root's own loader; None if one is not there."""
    if not program.is_file() or program.read_bytes()[:4] != b"\x7fELF":
        return set()
    path = f"{root / LIBS}:{root / LIBS / 'ceph'}"
    listed = subprocess.run([root / LOADER, "--library-path", path, "--list", program], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)
    if listed.returncode:
        return None
    return {pathlib.Path(name) for name in re.findall(r"=> (/\S+)", listed.stdout)}


def copy(root, path, target):
    """Copies a file, and whatever its symbolic links stand for, to the same place in the target."""
    to = target / path.relative_to(root)
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        link = os.readlink(path)
        if not to.is_symlink():
            to.symlink_to(link)
        next_path = (root / link.lstrip("/")) if link.startswith("/") else pathlib.Path(
            os.path.normpath(path.parent / link))
        if next_path.exists():
            copy(root, next_path, target)
    elif not to.exists():
        shutil.copy2(path, to)


def module_closure(root, release):
    folder = root / "usr/lib/modules" / release
    deps = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        name, _, rest = line.partition(":")
        deps[name] = rest.split()
    by_name = {re.sub(r"\.ko.*$", "", os.path.basename(name)).replace("-", "_"): name for name in deps}
    todo = [by_name[name.replace("-", "_")] for name in GUEST_MODULES if name.replace("-", "_") in by_name]
    found = set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += deps[name]
    return sorted(found)


def copy_modules(root, release, target):
    """The modules, unpacked here once rather than in the guest at every boot."""
    folder = root / "usr/lib/modules" / release
    out("depmod", "-b", str(root / "usr"), release)
    for name in module_closure(root, release):
        to = target / "usr/lib/modules" / release / re.sub(r"\.xz$", "", name)
        to.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".xz"):
            with open(to, "wb") as file:
                subprocess.run(["xz", "-dc", folder / name], check=True, stdout=file)
        else:
            shutil.copy2(folder / name, to)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        copy(root, folder / name, target)
    out("depmod", "-b", str(target / "usr"), release)


def build_guest(new, work):
    root, tree = work / "packages", work / "tree"
    bootstrap(root, GUEST_PACKAGES, backports=False)
    release = next((root / "usr/lib/modules").iterdir()).name
    say(f"guest: Linux {release}; picking programs and modules")
    kernel = root / "boot" / f"vmlinuz-{release}"
    vmlinux = unpack_kernel(kernel)
    if vmlinux:
        (new / "vmlinux").write_bytes(vmlinux)
    else:
        shutil.copy2(kernel, new / "vmlinux")

    for name in ("dev", "proc", "sys", "run", "tmp", "mnt", "root", "etc", "var"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / name).symlink_to("usr/" + name)
    copy(root, root / LOADER, tree)
    for program in wanted_programs(root):
        needs = libraries(root, program)
        if needs is None:
            say(f"guest: {program.name} left out, its libraries are not there")
            continue
        for path in [program, *needs]:
            copy(root, path, tree)
    copy(root, root / "usr/lib64/ld-linux-x86-64.so.2", tree)
    copy(root, root / "usr/share/misc/pci.ids", tree)
    for name in ("mke2fs.conf", "protocols", "services", "os-release"):
        copy(root, root / "etc" / name, tree)
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (tree / "etc/group").write_text("root:x:0:\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (tree / "usr/bin/awk").symlink_to("mawk")
    (tree / "usr/bin/sh").symlink_to("bash")
    for name in REQUIRED:
        if not any((tree / folder / name).exists() for folder in ("usr/bin", "usr/sbin")):
            fail(f"{name} is in none of the guest's packages")
    copy_modules(root, release, tree)
    shutil.copy2(HERE / "init", tree / "init")
    (tree / "init").chmod(0o755)

    # cpio wants /dev/console before devtmpfs is there.
    os.mknod(tree / "dev/console", 0o600 | 0o020000, os.makedev(5, 1))
    with open(new / "initramfs", "wb") as file:
        names = subprocess.run(["find", ".", "-mindepth", "1", "-print0"], cwd=tree, check=True,
                               stdout=subprocess.PIPE).stdout
        subprocess.run(["cpio", "--null", "--create", "--format=newc", "--quiet", "--owner=0:0"], cwd=tree,
                       input=names, stdout=file, check=True)
    (new / "release").write_text(release + "\n")


def guest():
    part = Part("guest", recipe("make.py", "init"))
    if not part.current():
        part.make(build_guest)


def main():
    if os.geteuid() != 0:
        fail("must run as root (mmdebstrap unpacks packages, tests make network namespaces)")
    if os.uname().machine != "x86_64":
        fail(f"only x86_64 is supported, this is {os.uname().machine}")
    VM.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with open(VM / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run is making it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in VM.glob(".*-*"):  # left by a run that was killed: the lock says nobody is using it
            shutil.rmtree(stale, ignore_errors=True)
        qemu()
        guest()


if __name__ == "__main__":
    main()
