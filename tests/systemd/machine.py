"""The booted container and what a test does with it."""

import os
import subprocess
import time

from websocket import parse_journal

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
BOOT = os.path.join(REPOSITORY, "scripts", "boot-systemd")
UNITS = os.path.join(REPOSITORY, "packaging", "systemd")


def eventually(condition, patience=15):
    """Waits until it holds; what it returned last otherwise."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.05)


class Machine:
    """One container, by its name."""

    def __init__(self, name):
        self.name = name
        pid = subprocess.run([BOOT, "pid", name], check=True, capture_output=True, text=True)
        self.root = f"/proc/{pid.stdout.strip()}/root"

    def run(self, *command, patience=60):
        """Runs a command inside. Its output is both streams together."""
        return subprocess.run(
            [BOOT, "run", self.name, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=patience,
        )

    def systemctl(self, *arguments):
        return self.run("systemctl", *arguments)

    def show(self, unit, property_):
        return self.systemctl("show", "--value", "-p", property_, unit).stdout.strip()

    def main_pid(self, unit="wsd"):
        return int(self.show(unit, "MainPID") or 0)

    def write(self, path, text, mode=0o640):
        """Writes a file of the configuration: root's, readable for the group wsd."""
        full = self.root + path
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(text)
        os.chmod(full, mode)
        if path.startswith("/etc/wsd/"):
            self.run("chgrp", "wsd", path)

    def remove(self, path):
        os.remove(self.root + path)

    def journal(self, *matches):
        """Records that match, oldest first."""
        self.run("journalctl", "--sync")
        return parse_journal(self.run("journalctl", "--all", "-o", "json", *matches).stdout)

    def fresh_start(self):
        """Ends what a test left, and forgets failures."""
        self.systemctl("stop", "wsd.socket", "wsd-admin.socket", "wsd.service")
        self.systemctl("reset-failed")
        self.run("sh", "-c", "rm -rf /etc/systemd/system/wsd* /run/systemd/system/wsd*")
        self.systemctl("daemon-reload")

    def install(self, binary):
        """Puts program, units, user and catalogue where a package puts them."""
        for source, target, mode in [
            (binary, "/usr/bin/wsd", "755"),
            (f"{UNITS}/wsd.service", "/usr/lib/systemd/system/wsd.service", "644"),
            (f"{UNITS}/wsd@.service", "/usr/lib/systemd/system/wsd@.service", "644"),
            (f"{UNITS}/wsd.socket", "/usr/lib/systemd/system/wsd.socket", "644"),
            (f"{UNITS}/wsd@.socket", "/usr/lib/systemd/system/wsd@.socket", "644"),
            (f"{UNITS}/wsd.sysusers", "/usr/lib/sysusers.d/wsd.conf", "644"),
            (f"{UNITS}/wsd.catalog", "/usr/lib/systemd/catalog/wsd.catalog", "644"),
        ]:
            subprocess.run(["install", "-D", "-m", mode, source, self.root + target], check=True)
        for command in [
            ["systemd-sysusers"],
            ["journalctl", "--update-catalog"],
            ["systemctl", "daemon-reload"],
            ["install", "-d", "-m", "750", "-g", "wsd", "/etc/wsd", "/etc/wsd/hooks"],
        ]:
            done = self.run(*command)
            if done.returncode != 0:
                raise RuntimeError(f"{command}: {done.stdout}")
