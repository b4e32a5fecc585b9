#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Models: what `farbus devices` says, and models from shared objects, right and wrong ones.

test-models.py FARBUS SOURCE_ROOT FOLDER_OF_MODELS [-v] [TestCase…]
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

FARBUS, SOURCE, MODELS = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
PATIENCE = 60  # s
FAILED, USAGE = 1, 2


def farbus(*args, **env):
    return subprocess.run([FARBUS, *map(str, args)], capture_output=True, text=True, timeout=PATIENCE,
                          env={**os.environ, "LC_ALL": "C", **env})


class Case(unittest.TestCase):
    def good(self, *args, **env):
        done = farbus(*args, **env)
        self.assertEqual((done.returncode, done.stderr), (0, ""), args)
        return done.stdout

    def refused(self, args, status, *patterns, **env):
        done = farbus(*args, **env)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for pattern in patterns:
            self.assertRegex(done.stderr, pattern)


class Devices(Case):
    def test_every_model(self):
        table = self.good("devices").splitlines()
        self.assertEqual(table[0].split(), ["MODEL", "ID", "CLASS", "SUMMARY"])
        every = json.loads(self.good("devices", "--json"))
        common = {option["name"] for option in every["common_options"]}
        self.assertGreaterEqual(common, {"id", "irq-coalesce", "msi", "msix"})
        self.assertEqual([line.split()[0] for line in table[1:]], [model["name"] for model in every["models"]])
        for model in every["models"]:
            text = self.good("devices", model["name"])
            if model["vendor"] != "0000":  # of vfio-user all is found out when the device is made
                self.assertIn(f"{model['vendor']}:{model['device']}", text)
            one = json.loads(self.good("devices", model["name"], "--json"))
            self.assertEqual(one, {**every, "models": [model]})
            # The help of --device is the same text; and each model has its page, with each of its options.
            self.assertEqual(self.good("box", "--device", f"{model['name']},help"), text)
            page = SOURCE / "docs/devices" / f"{model['name']}.md"
            self.assertTrue(page.exists(), page)
            told = page.read_text()
            told = set(re.findall(r"[\w-]+", " ".join(re.findall(r"^\| ([^|]+) \|", told, re.M) + re.findall("`[^`]+`", told))))
            for option in model["options"]:
                name = option["name"]
                self.assertRegex(text, rf"(?m)^  {name}=\S+ +\S", model["name"])
                self.assertTrue({name, name.rstrip("0123456789")} & told, f"{page} does not tell of {name}")  # file2: file

    def test_words_that_are_wrong(self):
        self.refused(["devices", "nvem"], USAGE, 'no model "nvem"; did you mean "nvme"\\?')
        self.refused(["devices", "quux.so"], USAGE, 'needs a \'/\': ./quux.so')
        self.refused(["devices", "a", "b"], USAGE, '"b" is one word too many')
        self.refused(["devices", "--jsno"], USAGE, 'did you mean "--json"')


class Shared(Case):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="farbus-models-"))
        self.addCleanup(shutil.rmtree, self.dir)

    def test_what_it_is(self):
        text = self.good("devices", MODELS / "good.so")
        self.assertIn("a model from a shared object", text)
        self.assertRegex(text, r"1b36:fb10.*\n  BAR 0 .*4 KiB.*\n  interrupts  1 MSI\n  style +blocking")
        self.assertRegex(text, r"foo=N +what is added, in spoons, 0 to 9 \(1\)")
        option, = json.loads(self.good("devices", MODELS / "good.so", "--json"))["models"][0]["options"]
        self.assertEqual(option, {"name": "foo", "type": "u32", "unit": "spoons", "default": "1", "min": 0, "max": 9,
                                  "required": False, "help": "what is added"})

    def test_listed(self):
        """Those in the folder are listed behind the ones that are built in, by the word that --device takes."""
        shutil.copy(MODELS / "good.so", self.dir / "spoon.so")
        shutil.copy(MODELS / "good.so", self.dir / "edu.so")  # the one that is built in has the name
        shutil.copy(MODELS / "no-reset.so", self.dir / "bad.so")
        (self.dir / "note.txt").write_text("no model")
        built_in = self.good("devices", FARBUS_MODELS="/nowhere")
        listed = farbus("devices", FARBUS_MODELS=str(self.dir))
        self.assertEqual([line.split()[0] for line in listed.stdout.splitlines()],
                         [line.split()[0] for line in built_in.splitlines()] + ["spoon"])
        self.assertRegex(listed.stdout, r"\nspoon +1b36:fb10 +ff0000 +a model from a shared object")
        self.assertRegex(listed.stderr, r"^[^\n]*bad\.so: the model has no reset\(\)\n$")
        (self.dir / "bad.so").unlink()
        models = json.loads(self.good("devices", "--json", FARBUS_MODELS=str(self.dir)))["models"]
        self.assertEqual((models[-1]["name"], models[-1]["device"]), ("spoon", "fb10"))

    def test_in_a_box(self):
        """By path, and by name in the folder; both at once, with each other's options."""
        shutil.copy(MODELS / "good.so", self.dir / "spoon.so")
        control = self.dir / "box.sock"
        box = subprocess.Popen(
            [FARBUS, "box", "--listen", "udp:127.0.0.1:0", "--control", control, "--device", f"{MODELS}/good.so,id=m0,foo=3",
             "--device", "spoon,id=m1"], stderr=subprocess.PIPE, text=True,
            env={**os.environ, "LC_ALL": "C", "FARBUS_MODELS": str(self.dir)})
        self.addCleanup(lambda: (box.kill(), box.wait(), box.stderr.close()))
        seen = ""
        for line in box.stderr:
            seen += line
            if "ready:" in line:
                break
        self.assertRegex(seen, r"m0: here, with foo=3\n(.*\n)*.*m1: here, with foo=1\n(.*\n)*.*2 functions")
        functions = json.loads(self.good("ls", "--json", "--control", control))["functions"]
        self.assertEqual([(f["id"], f["model"], f["device"]) for f in functions],
                         [("m0", "shared", "fb10"), ("m1", "shared", "fb10")])
        box.terminate()
        self.assertEqual(box.wait(PATIENCE), 0)

    def test_wrong_ones(self):
        (self.dir / "text.so").write_text("no shared object")
        for name, pattern in {
                "no-symbol": r"no-symbol\.so: no device model: it has no symbol farbus_model",
                "other-api": r"other-api\.so: the model was built for device API 2, this farbus has 1",
                "too-small": r"too-small\.so: the model's size is 64",
                "newer": r"newer\.so: the model was built for a newer farbus",
                "no-reset": r"no-reset\.so: the model has no reset\(\)",
                "no-options": r"no-options\.so: the model has no options, and n_options",
                "needs-more": r"needs-more\.so: undefined symbol: fb_device_of_the_future"}.items():
            path = MODELS / f"{name}.so"
            self.assertTrue(path.exists())
            self.refused(["devices", path], FAILED, pattern)
            self.refused(["box", "--listen", "udp:127.0.0.1:0", "--device", f"{path},id=m0"], FAILED, pattern)
        self.refused(["devices", self.dir / "text.so"], FAILED, r"text\.so: (file too short|invalid ELF header)")
        self.refused(["devices", "./is-not-there.so"], FAILED, r"is-not-there\.so: cannot open shared object file")
        self.refused(["devices", "text"], FAILED, r"text\.so: ", FARBUS_MODELS=str(self.dir))
        self.refused(["box", "--listen", "udp:127.0.0.1:0", "--device", f"{MODELS}/good.so,id=m0,foo=10"], USAGE,
                     r"foo=10: must be a number in spoons from 0 to 9")

    def test_realize_that_fails(self):
        """One line of error each, whether the model says why or not."""
        for name, pattern in {
                "silent": r"error: m0: the model's realize\(\) failed: No such device or address",
                "positive": r"error: m0: the model's realize\(\) returned 5",
                "says-why": r"error: m0: no spoons",
                "second": r"error: m0\.1: the model's realize\(\) failed: No such device or address"}.items():
            done = farbus("box", "--listen", "udp:127.0.0.1:0", "--device", f"{MODELS / name}.so,id=m0")
            errors = [line for line in done.stderr.splitlines() if " error: " in line]
            self.assertEqual((done.returncode, len(errors)), (FAILED, 1), done.stderr)
            self.assertRegex(errors[0], pattern)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
