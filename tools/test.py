#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs all tests, or those whose name matches one of the patterns, and ends with "N passed, N failed, N skipped".

unit, sim, model, fuzz   meson's tests, under the address and undefined-behaviour sanitizers; a test program is one test
check                    tools/check.d/*
netns, vm                functions test_* in tests/netns and tests/vm, with sanitized programs; those that a file names in
                         PLAIN have the programs that users have. $FARBUS_BUILD is another choice, for all of them
"""

import argparse
import ast
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
PLAIN = TOP / "build"
SAN = PLAIN / "san"
PATIENCE = float(os.environ.get("FARBUS_PATIENCE", "1"))
RUN_ONE = TOP / "tests" / "vm" / "run_one.py"


class Result:
    def __init__(self):
        self.counts = {"pass": 0, "FAIL": 0, "skip": 0}
        self.failed = []
        self.skipped = []

    def add(self, word, name, seconds, text=""):
        self.counts[word] += 1
        print(f"{word}  {seconds:6.1f} s  {name}", flush=True)
        if word == "FAIL":
            self.failed.append(name)
            print("    " + "\n    ".join(text.rstrip().splitlines()[-80:]), flush=True)
        elif word == "skip":
            why = [line.removeprefix("skip: ") for line in text.strip().splitlines()[-1:]] or ["no reason given"]
            self.skipped.append((name, why[0]))
            print(f"    {why[0]}", flush=True)

    def summary(self):
        for name, why in self.skipped:
            print(f"skipped: {name}: {why}")
        for name in self.failed:
            print(f"failed: {name}")
        print(f"{self.counts['pass']} passed, {self.counts['FAIL']} failed, {self.counts['skip']} skipped", flush=True)
        return 1 if self.failed else 0


# --- meson's tests ----------------------------------------------------------------------------------------------------

def meson_name(test):
    """"unit.link.sequence": the rung and area come from where the test is defined."""
    suite = next(iter(test["suite"]), "").split(":")[-1]
    return f"{suite or 'unit'}.{test['name']}"


class MesonTests:
    def __init__(self):
        self.tests = {}
        if (SAN / "build.ninja").exists() and shutil.which("meson"):
            listed = subprocess.run(["meson", "introspect", "--tests", str(SAN)], stdout=subprocess.PIPE, text=True)
            for test in json.loads(listed.stdout or "[]"):
                self.tests[meson_name(test)] = test

    def names(self):
        return {name: "" for name in self.tests}

    def run(self, names, result):
        wanted = {self.tests[name]["name"]: name for name in names}
        log = SAN / "meson-logs" / "testlog.json"
        log.unlink(missing_ok=True)
        env = {**os.environ,
               "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:detect_stack_use_after_return=1",
               "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
        done = subprocess.run(["meson", "test", "-C", str(SAN), "--no-rebuild", "--timeout-multiplier",
                               str(max(1, int(PATIENCE))), *wanted], env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen = set()
        for line in log.read_text().splitlines() if log.exists() else []:
            entry = json.loads(line)
            name = wanted.get(entry["name"].split(" / ")[-1].split(":")[-1])
            if not name:
                continue
            seen.add(name)
            text = (entry.get("stdout") or "") + (entry.get("stderr") or "")
            word = {"OK": "pass", "SKIP": "skip", "EXPECTEDFAIL": "pass"}.get(entry["result"], "FAIL")
            result.add(word, name, entry["duration"], f"{text}\n({entry['result']})" if word == "FAIL" else text)
        for name in sorted(set(names) - seen):
            result.add("FAIL", name, 0, "meson did not report it:\n" + done.stdout[-3000:])


# --- checks -----------------------------------------------------------------------------------------------------------

class Checks:
    def __init__(self):
        self.parts = {f"check.{path.name}": path for path in sorted((TOP / "tools/check.d").iterdir())
                      if path.is_file() and os.access(path, os.X_OK)}

    def names(self):
        return {name: "" for name in self.parts}

    def run(self, names, result):
        for name in names:
            started = time.monotonic()
            done = subprocess.run([str(self.parts[name])], cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            word = {0: "pass", 77: "skip"}.get(done.returncode, "FAIL")
            result.add(word, name, time.monotonic() - started, done.stdout)


# --- python tests -----------------------------------------------------------------------------------------------------

class PythonTests:
    """Each test runs in a process of its own, so that none can harm the next. TIMEOUT = SECONDS in a file sets how long
    each of its tests may take; PLAIN = ["test_x", …] are not run with sanitized programs."""

    def __init__(self, rung):
        self.tests = {}
        for path in sorted((TOP / "tests" / rung).glob("test_*.py")):
            tree = ast.parse(path.read_text())
            said = {getattr(node.targets[0], "id", ""): node.value for node in tree.body if isinstance(node, ast.Assign)}
            timeout = ast.literal_eval(said["TIMEOUT"]) if "TIMEOUT" in said else 300
            plain = ast.literal_eval(said["PLAIN"]) if "PLAIN" in said else []
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    name = f"{rung}.{path.stem.removeprefix('test_')}.{node.name.removeprefix('test_')}"
                    doc = (ast.get_docstring(node) or "").replace("\n", " ")
                    build = PLAIN if node.name in plain else SAN
                    self.tests[name] = (path, node.name, timeout, doc, build)

    def names(self):
        return {name: test[3] for name, test in self.tests.items()}

    def run(self, names, result):
        for name in names:
            path, function, timeout, _, build = self.tests[name]
            logs = TOP / "build" / "test-logs"
            logs.mkdir(parents=True, exist_ok=True)
            output = logs / f"{name}.{os.getpid()}.out"
            started = time.monotonic()
            with open(output, "w") as file:
                process = subprocess.Popen([sys.executable, str(RUN_ONE), str(path), function], start_new_session=True,
                                           env={"FARBUS_BUILD": str(build), **os.environ},
                                           stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
            note = ""
            try:
                status = process.wait(timeout * PATIENCE)
            except subprocess.TimeoutExpired:
                note = f"\nended after {timeout * PATIENCE:g} s"
                status = stop(process) or 1
            except BaseException:
                stop(process)
                output.unlink()
                raise
            text = output.read_text(errors="replace") + note
            output.unlink()
            word = {0: "pass", 77: "skip"}.get(status, "FAIL")
            result.add(word, name, time.monotonic() - started, text)


def stop(process):
    """Lets a test clean up after itself, for so long as that may take."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def main():
    parser = argparse.ArgumentParser(prog="./dev test", description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="*", help="regular expressions that a test's name is searched for")
    parser.add_argument("--list", action="store_true", help="print the names and what each test shows")
    options = parser.parse_args()

    def told(number, _):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, told)

    groups = [Checks(), MesonTests(), PythonTests("netns"), PythonTests("vm")]
    result = Result()
    started = time.monotonic()
    try:
        for group in groups:
            names = {name: doc for name, doc in group.names().items()
                     if not options.pattern or any(re.search(pattern, name) for pattern in options.pattern)}
            if options.list:
                for name, doc in names.items():
                    print(f"{name:40} {doc}".rstrip())
            elif names:
                group.run(list(names), result)
    except KeyboardInterrupt:
        print("stopped")
        result.summary()
        return 130
    if options.list:
        return 0
    if not sum(result.counts.values()):
        print(f"no test matches {' '.join(options.pattern)}")
        result.failed.append("")
    print(f"took {time.monotonic() - started:.0f} s")
    return result.summary()


if __name__ == "__main__":
    sys.exit(main())
