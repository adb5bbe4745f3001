"""Autobahn's fuzzing client against wsd: run.py BINARY HOME [--quick] [CASE…]. scripts/test-autobahn calls it.

HOME is where scripts/test-autobahn put Python 2.7 and the suite. Starts wsd with a limit of 16 MiB, which the suite's
largest messages have, and nothing else that matters; every path is a channel, so a client alone on one hears an echo.
Every case must be passed or informational: none non-strict, failed or unimplemented.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

CONFIG = """
[listen]
addresses = ["127.0.0.1:0"]
[runtime]
workers = 1
[hooks]
directory = "{home}"
watch = false
[admin]
control = "{home}/control.sock"
http = ""
[limits]
message = "16MiB"
[delivery]
queue = "64MiB"
[compression]
min_size = 0
"""

# What a test run of two minutes can hold: all of the protocol, and of what is large or repeated a thousand times the small.
QUICK = [
    *("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"),
    *("9.1.1", "9.1.2", "9.1.3", "9.2.1", "9.2.2", "9.2.3", "9.3.5", "9.4.5", "9.5.5", "9.6.5", "9.7.1", "9.8.1"),
    *(f"12.{kind}.{case}" for kind in range(1, 6) for case in range(1, 8)),
    *(f"13.{kind}.{case}" for kind in range(1, 8) for case in range(1, 5)),
]
GOOD = {"OK", "INFORMATIONAL"}


def start(binary, home):
    """The node, and the address it listens on."""
    (home / "wsd.toml").write_text(CONFIG.format(home=home))
    log = open(home / "wsd.log", "w")
    node = subprocess.Popen([binary, "run", "-c", home / "wsd.toml"], stdin=subprocess.DEVNULL, stderr=log)
    deadline = time.monotonic() + 30
    while "ready: " not in (home / "wsd.log").read_text():
        if node.poll() is not None or time.monotonic() > deadline:
            raise SystemExit((home / "wsd.log").read_text())
        time.sleep(0.01)
    status = subprocess.run(
        [binary, "status", "--json", "--socket", home / "control.sock"], check=True, capture_output=True
    )
    return node, json.loads(status.stdout)["listeners"][0]


def fuzz(suite, reports, address, cases):
    """Runs the client; its progress goes to a file, as nobody reads 517 lines."""
    spec = {
        "outdir": str(reports),
        "servers": [{"agent": "wsd", "url": f"ws://{address}/echo"}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (reports.parent / "spec.json").write_text(json.dumps(spec))
    root = suite / "root/usr"
    env = {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": f"{root}/lib/{platform.machine()}-linux-gnu",
        "PYTHONPATH": str(suite / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    run = "from autobahntestsuite import wstest; wstest.run()"
    with open(reports.parent / "client.log", "w") as log:
        subprocess.run(
            [root / "bin/python2.7", "-c", run, "-m", "fuzzingclient", "-s", reports.parent / "spec.json"],
            env=env, cwd=reports.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=True,
        )  # fmt: skip


def judge(reports, seconds):
    """Prints the counts and what is not as it should be; whether all is."""
    results = json.loads((reports / "index.json").read_text())["wsd"]
    bad = {}
    counts = Counter()
    for case, result in results.items():
        counts[result["behavior"]] += 1
        if not {result["behavior"], result["behaviorClose"]} <= GOOD:
            bad[case] = result
    for case, result in sorted(bad.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
        report = json.loads((reports / result["reportfile"]).read_text())
        print(f"case {case}: {result['behavior']}, closing {result['behaviorClose']}: {report['result']}")
        print(f"    {report['description']}")
    names = {"OK": "passed", "INFORMATIONAL": "informational"}
    listed = ", ".join(f"{count} {names.get(name, name.lower())}" for name, count in counts.most_common())
    print(f"{len(results)} cases in {seconds:.0f} s: {listed}; reports: {reports}/index.html")
    print(f"{len(results) - len(bad)} passed, {len(bad)} failed")
    return not bad and len(results) > 0


def main():
    binary, suite, *arguments = sys.argv[1:]
    suite = Path(suite)
    cases = [argument for argument in arguments if argument != "--quick"]
    if "--quick" in arguments:
        cases += QUICK
    reports = suite / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    home = Path(tempfile.mkdtemp(prefix="wsd-autobahn-"))
    started = time.monotonic()
    node, address = start(binary, home)
    try:
        fuzz(suite, reports, address, cases or ["*"])
        good = judge(reports, time.monotonic() - started)
    finally:
        node.send_signal(signal.SIGTERM)
        code = node.wait(30)
        shutil.copy(home / "wsd.log", suite / "wsd.log")
        shutil.rmtree(home)
    if code != 0:
        print(f"wsd ended with {code}: {suite / 'wsd.log'}")
    return 0 if good and code == 0 else 1


sys.exit(main())
