# SPDX-License-Identifier: Apache-2.0
"""tshark with our dissector, as tests want it: no settings or plugins of whoever runs them, and not as root, for which
Wireshark 4.4 loads no Lua. So the dissector and the capture are copied to where nobody may read them."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

DISSECTOR = pathlib.Path(__file__).resolve().parent.parent.parent / "wireshark"
NOBODY = 65534


def available():
    return shutil.which("tshark") is not None


def tshark(path, *args, timeout=200, installed=False):
    """What it prints. `installed`: the dissector is among the user's plugins too. AssertionError when it, or the dissector, complains."""
    with tempfile.TemporaryDirectory(prefix="farbus-tshark-") as name:
        home = pathlib.Path(name)
        shutil.copytree(DISSECTOR, home / "wireshark", ignore=shutil.ignore_patterns("captures"))
        shutil.copy(path, home / "capture")
        if installed:
            shutil.copytree(home / "wireshark", home / ".local/lib/wireshark/plugins")
        how = {}
        if os.geteuid() == 0:
            how = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            for folder, _, files in os.walk(home):
                for entry in (folder, *(os.path.join(folder, file) for file in files)):
                    os.chown(entry, NOBODY, NOBODY)
        done = subprocess.run(["tshark", "-n", "-X", f"lua_script:{home}/wireshark/farbus.lua", "-r", home / "capture",
                               *map(str, args)], capture_output=True, text=True, errors="replace", timeout=timeout, cwd="/",
                              env={"PATH": os.environ["PATH"], "HOME": name, "LC_ALL": "C.UTF-8", "TZ": "UTC"}, **how)
    errors = [line for line in done.stderr.splitlines() if line and not line.startswith("Running as user")]
    assert done.returncode == 0 and not errors, f"tshark {args}: {done.returncode} {errors}"
    assert "Lua Error" not in done.stdout, re.findall(".*Lua Error.*", done.stdout)[:3]
    return done.stdout
