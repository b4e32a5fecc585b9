#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/writing-a-device.md, as a reader follows it: farbus is installed into a folder, the page's commands are run.

test-writing.py SOURCE_ROOT BUILD_ROOT SANITIZERS [-v]
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE, BUILD, SANITIZERS = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
PATIENCE = 120  # s


class Page(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="farbus-writing-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.stage = self.dir / "stage"
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet"], check=True, timeout=PATIENCE,
                       env={**os.environ, "DESTDIR": str(self.stage)}, stdout=subprocess.DEVNULL)
        pkg_config, = self.stage.rglob("pkgconfig")
        farbus, = self.stage.rglob("bin/farbus")
        sanitize = "" if SANITIZERS == "none" else f" -fsanitize={SANITIZERS}"
        self.env = {**os.environ, "LC_ALL": "C", "FARBUS_SOURCE": str(SOURCE), "PKG_CONFIG_PATH": str(pkg_config),
                    "PKG_CONFIG_SYSROOT_DIR": str(self.stage), "PATH": f"{farbus.parent}:{os.environ['PATH']}",
                    "CFLAGS": f"-O1 -g -Wall -Wextra -Wno-unused-parameter -Werror{sanitize}"}

    def run_it(self, script, good=True):
        done = subprocess.run(["bash", "-ec", script], cwd=self.dir, env=self.env, timeout=PATIENCE, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode == 0, good, f"{script}\n{done.stdout}")
        return done.stdout

    def test_commands_of_the_page(self):
        page = (SOURCE / "docs/writing-a-device.md").read_text()
        blocks = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)
        self.assertGreaterEqual(len(blocks), 3)
        said = self.run_it("".join(blocks))
        self.assertIn("computes the CRC-32 of guest memory", said)
        self.assertIn("longest=SIZE", said)
        self.assertIn("crc: all is well", said)
        self.assertEqual(said.count("1b36:f0cc"), 3)  # by its path, in the list, and by its name in the folder for models

    def test_a_wrong_device_fails_its_test(self):
        """The template test is one: each of these mistakes is found, with words that say what."""
        self.run_it("cp -r $FARBUS_SOURCE/examples/crc mydevice")
        device = self.dir / "mydevice/crc.c"
        right = device.read_text()
        for old, new, words in (("c->result = ~crc", "c->result = crc", "not so: crc_of"),
                                ("fb_irq(dev, 0)", "(void)0", "not so: fb_test_irqs"),
                                ("uint8_t data[4096]", "uint8_t data[2048]", 'expected "MRd 0x10000000 1024 DW", got "MRd'),
                                ("c->length > c->longest", "false", "STATUS"),
                                ("c->address = c->length =", "c->length =", "ADDRESS")):
            self.assertEqual(right.count(old), 1, old)
            device.write_text(right.replace(old, new))
            self.assertIn(words, self.run_it("cd mydevice && make test", good=False))

    def test_installed_headers_compile_alone(self):
        include, = self.stage.rglob("include")
        for header in sorted(include.rglob("*.h")):
            name = header.relative_to(include)
            self.run_it(f"for c in 'gcc -std=c11' 'g++ -x c++ -std=c++17'; do echo '#include <{name}>' | "
                        f"$c -fsyntax-only -Wall -Wextra -Werror -I{include} -x c$([[ $c == g++* ]] && echo ++) -; done")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
