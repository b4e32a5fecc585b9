# SPDX-License-Identifier: Apache-2.0
"""What a bench run says: rows of figures, each beside a named peer measured in the same run, as table and JSON."""

import json
import os
import platform
import statistics
import time


class Row:
    """One figure: samples of ours and of the peer, taken in turns. `mark` is the least ratio that is good enough, or,
    for latencies (lower is better), the largest."""

    def __init__(self, section, name, unit, peer, lower_is_better=False, mark=None):
        self.section, self.name, self.unit, self.peer = section, name, unit, peer
        self.lower_is_better, self.mark = lower_is_better, mark
        self.ours, self.theirs = [], []

    def add(self, ours, theirs):
        self.ours.append(ours)
        self.theirs.append(theirs)

    def ratio(self):
        return statistics.median(self.ours) / statistics.median(self.theirs)

    def verdict(self):
        if self.mark is None:
            return ""
        good = self.ratio() <= self.mark if self.lower_is_better else self.ratio() >= self.mark
        return "reached" if good else "MISSED"

    def json(self):
        return {"section": self.section, "name": self.name, "unit": self.unit, "peer": self.peer,
                "ours": self.ours, "theirs": self.theirs,
                "median": statistics.median(self.ours), "peer_median": statistics.median(self.theirs),
                "ratio": self.ratio(), "lower_is_better": self.lower_is_better,
                "mark": self.mark, "verdict": self.verdict()}


def spread(samples):
    middle = statistics.median(samples)
    return f"{figure(middle)} ({figure(min(samples))}..{figure(max(samples))})"


def figure(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows):
    head = ["what", "unit", "farbus: median (min..max)", "peer: median (min..max)", "peer", "ratio", "mark", ""]
    lines = [head]
    for row in rows:
        sign = "<=" if row.lower_is_better else ">="
        lines.append([f"{row.section}: {row.name}", row.unit, spread(row.ours), spread(row.theirs), row.peer,
                      f"{row.ratio():.2f}", f"{sign} {row.mark:g}" if row.mark is not None else "", row.verdict()])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def write_json(rows, extra, path):
    with open(path, "w") as file:
        json.dump({"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cores": os.cpu_count(),
                   "kernel": platform.release(), "load": os.getloadavg(), **extra,
                   "rows": [row.json() for row in rows]}, file, indent=1)
        file.write("\n")
