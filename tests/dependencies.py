#!/usr/bin/env python3
"""Licences, sources and doubles of the dependencies, by the rules of .cargo/deny.toml.

For machines without cargo-deny: it reads `cargo metadata` and checks what `cargo deny check bans licenses sources` would,
for what is linked into wsd (normal and build dependencies on Linux). Prints every problem, then the counts; exits with 1 if
there is one.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

root = Path(__file__).resolve().parent.parent
rules = tomllib.loads((root / ".cargo/deny.toml").read_text())
problems = []


def metadata():
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"]
    return json.loads(subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout)


def linked(data):
    """The packages that are reached from wsd without passing through a development dependency."""
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    found, todo = set(), [data["resolve"]["root"]]
    while todo:
        package = todo.pop()
        if package not in found:
            found.add(package)
            for dependency in nodes[package]["deps"]:
                if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                    todo.append(dependency["pkg"])
    return found


def allowed(expression, allow):
    """Whether an SPDX expression can be met with the licences of a list."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def alternatives():
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value |= both()
        return value

    def both():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value &= one()
        return value

    def one():
        token = tokens.pop(0)
        if token == "(":
            value = alternatives()
            tokens.pop(0)
            return value
        if tokens and tokens[0] == "WITH":
            token = f"{token} WITH {tokens[1]}"
            del tokens[:2]
        return token in allow

    return alternatives()


data = metadata()
own = data["resolve"]["root"]
reached = linked(data)
packages = [package for package in data["packages"] if package["id"] in reached and package["id"] != own]

allow = set(rules["licenses"]["allow"])
registries = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}
versions = defaultdict(set)
for package in packages:
    name = f"{package['name']} {package['version']}"
    versions[package["name"]].add(package["version"])
    if not package["license"] or not allowed(package["license"], allow):
        problems.append(f"{name}: licence {package['license']} is not in [licenses] allow")
    if package["source"] not in registries:
        problems.append(f"{name}: comes from {package['source']}, not from a registry in [sources] allow-registry")

skipped = {entry["crate"].split("@")[0].split(":")[0] for entry in rules["bans"]["skip"]}
for name, several in sorted(versions.items()):
    if len(several) > 1 and name not in skipped:
        problems.append(f"{name}: {len(several)} versions, {', '.join(sorted(several))}; give a reason in [bans] skip")
for name in sorted(skipped):
    if len(versions[name]) < 2:
        problems.append(f"{name}: is skipped in [bans] and has no second version")

manifest = tomllib.loads((root / "Cargo.toml").read_text())
for table in ("dependencies", "dev-dependencies", "build-dependencies"):
    for name, spec in manifest.get(table, {}).items():
        version = spec if isinstance(spec, str) else spec.get("version", "*")
        if "*" in version:
            problems.append(f"Cargo.toml: {table}.{name}: a version is needed, not {version}")

for problem in problems:
    print(problem)
print(f"{len(packages)} dependencies, {len(problems)} problems")
sys.exit(1 if problems else 0)
