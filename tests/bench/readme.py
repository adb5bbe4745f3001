#!/usr/bin/env python3
"""Writes README's section on performance and its chart from what scripts/bench has measured.

    readme.py FILE     takes FILE, the JSON of scripts/bench, over as tests/bench/results.json, shortened, and writes both
    readme.py          writes both anew from tests/bench/results.json
    readme.py --check  says whether both are as they would be written; exits with 1 if not

scripts/bench readme measures and then calls it. Nothing in the section is written by hand but what stands here.
"""

import json
import re
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests/bench/results.json"
README = ROOT / "README.md"
CHART = ROOT / "etc/doc/performance.svg"
BEGIN = "<!-- performance: written by scripts/bench readme -->"
END = "<!-- /performance -->"

# Columns, in this order; those that were not measured are left out.
SERVERS = ["wsd", "wsd, 2 workers", "floor-coalesce", "floor-write", "uws-js", "bun", "tungstenite", "nchan", "ws"]
PEERS = SERVERS[4:]
HEADS = {
    "floor-coalesce": "floor",
    "floor-write": "floor, a write each",
    "uws-js": "uWebSockets.js",
    "bun": "Bun",
    "ws": "`ws`",
}
WHAT = {
    "echo1": "50 clients, each alone in a channel, 1 message under way",
    "echo16": "the same, 16 under way",
    "pipeline": "8 clients, 256 under way",
    "fan-sat": "200 subscribers, 64 under way",
    "fan-sat1000": "1,000 subscribers, 64 under way",
    "fan-sat-1k": "200 subscribers, 64 of 1 KiB under way",
    "fan-burst": "200 subscribers, 320 a second in bursts of 16",
    "fan-paced": "200 subscribers, 150 a second one by one",
    "many-sat": "200 channels of 10, everyone publishes, 1 under way",
    "many": "500 channels of 10, 1,500 a second in all",
    "slow": "110 subscribers of which 10 never read, 4 KiB, 400 a second",
}
# A peer is said to be ahead if its median is lower by more than this.
AHEAD = 1.05


def shorten(value):
    """Numbers with four digits that matter: the rest is noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: shorten(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shorten(item) for item in value]
    return value


def save(report):
    """A line for each row, so that a difference can be read."""
    lines = []
    for key, value in shorten(report).items():
        if isinstance(value, list):
            rows = ",\n".join("    " + json.dumps(row, ensure_ascii=False) for row in value)
            lines.append(f"  {json.dumps(key)}: [\n{rows}\n  ]" if value else f"  {json.dumps(key)}: []")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    RESULTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def micros(value):
    if value < 1:
        return f"{value:.3f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def grouped(value):
    return f"{value:,.0f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


class Results:
    def __init__(self, report):
        self.report = report
        self.loads = {(row["scenario"], row["server"]): row for row in report["loads"]}
        self.idle = {(row["scenario"], row["server"]): row for row in report["idle"]}

    def servers(self, rows):
        return [server for server in SERVERS if any(server == found for _, found in rows)]

    def cpu(self, scenario, server):
        row = self.loads.get((scenario, server))
        return row and row["cpu_us_per_delivery"]["median"]

    def scenarios(self):
        return [name for name in WHAT if (name, "wsd") in self.loads]

    def load_table(self):
        servers = self.servers([key for key in self.loads if key[0] in WHAT])
        rows = []
        for name in self.scenarios():
            cells = [f"`{name}`: {WHAT[name]}"]
            for server in servers:
                cpu = self.cpu(name, server)
                cell = "" if cpu is None else micros(cpu)
                floor = self.cpu(name, "floor-coalesce")
                if cell and floor and server.startswith("wsd"):
                    cell = f"**{cell}** ({cpu / floor:.2f} x)" if server == "wsd" else f"{cell} ({cpu / floor:.2f} x)"
                cells.append(cell)
            rows.append(cells)
        return table(["CPU µs a delivery", *(HEADS.get(server, server) for server in servers)], rows)

    def idle_table(self):
        servers = self.servers([key for key in self.idle if key[0] == "idle"])
        rows = [
            ("bytes a connection, settled", "settled_bytes_per_connection", grouped),
            ("bytes a connection, after a message each", "spoken_bytes_per_connection", grouped),
            ("memory kept after all have left, over the start", "left_percent_above_start", lambda v: f"{v:+.0f} %"),
            ("CPU µs a handshake", "handshake_cpu_us", lambda v: f"{v:.1f}"),
            ("CPU of one core while nothing happens", "idle_cpu_percent", lambda v: f"{v:.2f} %"),
        ]
        cells = []
        for text, key, form in rows:
            line = [text]
            for server in servers:
                value = self.idle[("idle", server)][key]
                line.append(form(value["median"] if isinstance(value, dict) else value))
            cells.append(line)
        beat = self.idle.get(("heartbeat", "wsd"))
        if beat:
            share = f"{beat['idle_cpu_percent']['median']:.2f} %"
            cells.append(["the same with two pings of each in 65 s", share, *([""] * (len(servers) - 1))])
        return table(["10,000 connections", *(HEADS.get(server, server) for server in servers)], cells)

    def scale_lines(self):
        found = {}
        for row in self.report["scale"]:
            found.setdefault(row["scenario"], []).append(row)
        figure = lambda row, name: row["figures"][name]["median"]
        lines = []
        for scenario, text in [
            ("scale-channels", "channels with a subscriber each, on 100 connections"),
            ("scale-one", "channels on one connection"),
        ]:
            rows = found.get(scenario)
            if not rows:
                continue
            sizes = " / ".join(grouped(row["size"]) for row in rows)
            each = "; ".join(
                f"{name} {' / '.join(micros(figure(row, f'{name} µs')) for row in rows)} µs"
                for name in ("subscribe", "publish", "leave")
            )
            most = " / ".join(micros(figure(row, "most for ten µs")) for row in rows)
            size = grouped(figure(rows[-1], "bytes each"))
            lines.append(f"- {sizes} {text}: {each}, each through a hook; the dearest ten of all took {most} µs; {size} bytes a channel.")
        rows = found.get("scale-large")
        if rows:
            row = rows[-1]
            lines.append(
                f"- Bursts of 8 messages of {grouped(row['size'] / 1024)} KiB to 100 subscribers with small socket buffers: "
                f"{micros(figure(row, 'CPU µs a KiB'))} µs a KiB delivered, memory grew by {grouped(figure(row, 'grew KiB'))} KiB at most "
                f"(a copy for each subscriber would be {grouped(figure(row, 'burst KiB') * 100)}) and {grouped(max(0, figure(row, 'kept KiB')))} KiB stayed."
            )
        return "\n".join(lines)

    def other_lines(self):
        lines = []
        for (scenario, server), row in self.loads.items():
            if server == "wsd" and "cpu_us_over_bare" in row:
                lines.append(
                    f"- `{scenario}`: {row['cpu_us_over_bare']:+.2f} µs over wsd without it ({micros(row['cpu_us_per_delivery']['median'])} µs in all)."
                )
        for scenario, text in [("redis-sat", "64 messages under way"), ("redis-paced", "150 messages a second one by one")]:
            cpu = self.cpu(scenario, "wsd")
            if cpu:
                lines.append(
                    f"- Two nodes over a Redis, publisher on one, 200 subscribers on the other, {text}: {micros(cpu)} µs a delivery, both nodes together, without Redis' own."
                )
        return "\n".join(lines)

    def losses(self):
        """Where wsd is not the cheapest, and what went wrong: said as plainly as the rest."""
        lines = []
        for name in self.scenarios():
            own = self.cpu(name, "wsd")
            ahead = [(self.cpu(name, peer), peer) for peer in PEERS if self.cpu(name, peer)]
            ahead = sorted((cpu, peer) for cpu, peer in ahead if cpu * AHEAD < own)
            if ahead:
                others = ", ".join(f"{HEADS.get(peer, peer)} {micros(cpu)}" for cpu, peer in ahead)
                lines.append(f"- `{name}`: wsd {micros(own)} µs, {others}.")
        own = self.idle.get(("idle", "wsd"))
        for key, text, unit in [
            ("spoken_bytes_per_connection", "memory of an idle connection", "bytes"),
            ("handshake_cpu_us", "handshake", "µs"),
        ]:
            if not own:
                continue
            mine = own[key]["median"]
            ahead = [
                (self.idle[("idle", peer)][key]["median"], peer) for peer in PEERS if ("idle", peer) in self.idle
            ]
            ahead = sorted((value, peer) for value, peer in ahead if value * AHEAD < mine)
            if ahead:
                form = grouped if unit == "bytes" else lambda value: f"{value:.1f}"
                others = ", ".join(f"{HEADS.get(peer, peer)} {form(value)}" for value, peer in ahead)
                lines.append(f"- {text}: wsd {form(mine)} {unit}, {others}.")
        if not lines:
            lines.append("- In none of these rows is one of these servers cheaper by more than 5 %.")
        faulty = [row for row in self.report["loads"] + self.report["idle"] + self.report["scale"] if sum(row["faults"].values())]
        for row in faulty:
            counts = ", ".join(f"{count} {name}" for name, count in row["faults"].items() if count)
            lines.append(f"- `{row['scenario']}`, {HEADS.get(row['server'], row['server'])}: {counts}.")
        lines += [f"- Not measured: {failure}." for failure in self.report["failures"]]
        return "\n".join(lines)

    def section(self):
        machine = self.report["machine"]
        versions = "; ".join(self.report["versions"].values())
        own_faults = sum(
            sum(row["faults"].values())
            for row in self.report["loads"] + self.report["idle"] + self.report["scale"]
            if row["server"].startswith("wsd")
        )
        rounds = "One round" if self.report["rounds"] == 1 else f"Medians of {self.report['rounds']} rounds"
        busy = (
            f"The machine was busy with other work meanwhile (load {machine['load']:.0f} on {machine['cpus']} CPUs): ratios within a row say more than figures, and differences below 20 % little."
            if machine["load"] > 1
            else ""
        )
        verdict = "nothing was lost, doubled, reordered or damaged by wsd" if own_faults == 0 else f"{own_faults} faults of wsd, see below"
        parts = [
            BEGIN,
            f"Measured on {machine['date']} with `{machine['command']}`: {machine['processor']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, "
            f"{machine['rustc'].split(' (')[0]}, wsd {machine['version']} at {machine['commit']}. {rounds} in which the servers took turns; "
            f"the figure is the server's CPU time for each delivered message, in µs, so less is better. Every byte was checked: {verdict}.",
            busy,
            "The *floor* is an epoll loop that does nothing but what must be done, and writes to each subscriber once a turn; `x` is wsd's multiple of it. "
            f"The others: {versions}. None compresses. [tests/bench](tests/bench/README.md) says how it is measured and how far to trust it.",
            "![CPU time a delivery, by scenario and server](etc/doc/performance.svg)",
            self.load_table(),
            self.idle_table(),
            "\n".join(part for part in [self.other_lines(), self.scale_lines()] if part),
            "**Where wsd is behind, and what went wrong:**",
            self.losses(),
            END,
        ]
        return "\n\n".join(part for part in parts if part)

    def chart(self):
        """A panel for each scenario, a bar for each server; every panel has a scale of its own."""
        names = [name for name in self.scenarios() if name not in ("fan-sat-1k",)]
        bars = [server for server in ["floor-coalesce", "wsd", *PEERS] if any((name, server) in self.loads for name in names)]
        columns, width, left, bar, gap = 2, 440, 118, 15, 34
        height = len(bars) * bar + gap + 6
        lines = -(-len(names) // columns)
        total = (columns * width + 10, lines * height + 34)
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total[0]} {total[1]}" font-family="sans-serif" font-size="11">',
            f'<rect width="{total[0]}" height="{total[1]}" fill="#ffffff"/>',
            f'<text x="10" y="18" font-size="13" fill="#222">CPU µs a delivery, {self.report["machine"]["date"]}: less is better; each panel has its own scale</text>',
        ]
        for index, name in enumerate(names):
            x, y = 10 + index % columns * width, 34 + index // columns * height
            out.append(f'<text x="{x}" y="{y + 12}" fill="#222"><tspan font-weight="bold">{name}</tspan>  {escape(WHAT[name])}</text>')
            values = [(server, self.cpu(name, server)) for server in bars]
            most = max(value for _, value in values if value)
            for place, (server, value) in enumerate(values):
                top = y + 18 + place * bar
                label = HEADS.get(server, server).strip("`")
                out.append(f'<text x="{x + left - 6}" y="{top + 10}" text-anchor="end" fill="#444">{escape(label)}</text>')
                if value is None:
                    out.append(f'<text x="{x + left}" y="{top + 10}" fill="#888">not measured</text>')
                    continue
                length = max(1.0, value / most * (width - left - 60))
                colour = {"wsd": "#0b6e4f", "floor-coalesce": "#b8b8b8"}.get(server, "#7a9cc6")
                out.append(f'<rect x="{x + left}" y="{top + 1}" width="{length:.1f}" height="{bar - 4}" fill="{colour}"/>')
                out.append(f'<text x="{x + left + length + 4:.1f}" y="{top + 10}" fill="#222">{micros(value)}</text>')
        out.append("</svg>")
        return "\n".join(out) + "\n"


def main(arguments):
    if arguments and arguments[0] != "--check":
        save(json.loads(Path(arguments[0]).read_text()))
    text = README.read_text()
    pattern = re.compile(re.escape(BEGIN) + "(.*?)" + re.escape(END), re.S)
    sections = pattern.findall(text)
    if len(sections) != 1:
        sys.exit(f'README.md: expected one section between "{BEGIN}" and "{END}"')
    if not RESULTS.exists():
        if sections[0].strip() or CHART.exists():
            sys.exit("README.md has figures, and there is no tests/bench/results.json that says them")
        return
    results = Results(json.loads(RESULTS.read_text()))
    written = pattern.sub(lambda _: results.section(), text)
    chart = results.chart()
    if arguments == ["--check"]:
        stale = [path.name for path, new in [(README, written), (CHART, chart)] if not path.exists() or path.read_text() != new]
        if stale:
            sys.exit(f"{' and '.join(stale)}: not what tests/bench/results.json says; tests/bench/readme.py writes it")
        return
    README.write_text(written)
    CHART.parent.mkdir(parents=True, exist_ok=True)
    CHART.write_text(chart)


if __name__ == "__main__":
    main(sys.argv[1:])
