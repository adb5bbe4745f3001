"""The package where no systemd runs: a plain change of root, as in a container, a terminal or under OpenRC.

Run by scripts/test-packages in namespaces of its own (mount, net, pid): `chroot.py ROOT PACKAGE`. ROOT is the file tree
of a Debian and is only ever the lower layer of an overlay; PACKAGE is the .deb. Prints a line for each check and ends with
the counts; exit code 1 if one failed.
"""

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "systemd"))

from machine import eventually  # noqa: E402
from websocket import Closed, WebSocket, http_status  # noqa: E402

PUBLIC, ADMIN = 8080, 9464
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
passed = failed = 0
work = tempfile.mkdtemp(prefix="wsd-chroot-")
root = os.path.join(work, "root")


def check(what, condition, detail=""):
    global passed, failed
    if condition:
        passed += 1
        print(f"ok - {what}", flush=True)
    else:
        failed += 1
        print(f"FAIL - {what}", flush=True)
        for line in str(detail).splitlines()[-30:]:
            print(f"    {line}", flush=True)


def set_up(lower):
    """An overlay in memory, with what every change of root has, and a loopback that is up."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", work], check=True)
    for name in ["upper", "work", "root"]:
        os.mkdir(os.path.join(work, name))
    options = f"lowerdir={lower},upperdir={work}/upper,workdir={work}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, root], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", f"{root}/proc"], check=True)
    subprocess.run(["mount", "--rbind", "/dev", f"{root}/dev"], check=True)
    with socket.socket() as any_socket:
        up_and_running = 0x1 | 0x40
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", up_and_running))  # SIOCSIFFLAGS


def run(*command, patience=120):
    clean = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        ["chroot", root, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean, timeout=patience
    )


class Foreground:
    """wsd, started as one starts it by hand."""

    def __init__(self, *command):
        self.log = tempfile.TemporaryFile("w+", dir=work)
        self.process = subprocess.Popen(
            ["chroot", *command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, env={"PATH": PATH}
        )

    def ready(self):
        return eventually(lambda: "ready: " in self.text() or self.process.poll() is not None) and self.process.poll() is None

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def installed(package):
    shutil.copy(package, f"{root}/root/wsd.deb")
    done = run("apt-get", "install", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "/root/wsd.deb")
    check("the package is installed", done.returncode == 0, done.stdout)
    try:
        WebSocket(PUBLIC)
        check("nothing is started", False)
    except ConnectionRefusedError:
        check("nothing is started", True)


def in_the_foreground():
    with open(f"{root}/etc/wsd/conf.d/drain.toml", "w") as file:
        file.write('[drain]\nover = "1s"\n')
    node = Foreground(root, "wsd")
    check("wsd starts in the foreground", node.ready(), node.text())
    client = WebSocket(PUBLIC)
    check("it serves", client.ask("hello") == "hello" and http_status(ADMIN, "/readyz") == 200)
    check("and logs lines to standard error", " info  start: ready: 1 listener" in node.text(), node.text())
    done = run("wsd", "status")
    check("the tools find it", done.returncode == 0 and "generation 1" in done.stdout, done.stdout)
    with open(f"{root}/etc/wsd/hooks/20-shout.lua", "w") as file:
        file.write("function on_message(conn, m)\n  return m:upper()\nend\n")
    check("a saved hook is taken over", eventually(lambda: client.ask("loud") == "LOUD"), node.text())
    with open(f"{root}/etc/wsd/conf.d/test.toml", "w") as file:
        file.write("[limits]\nconections = 5\n")
    done = run("wsd", "reload")
    check("a mistake is refused with file and line", done.returncode == 1 and "test.toml:2:1" in done.stdout, done.stdout)
    os.remove(f"{root}/etc/wsd/conf.d/test.toml")
    node.process.send_signal(signal.SIGHUP)
    check("SIGHUP reloads", eventually(lambda: "generation 3" in run("wsd", "status").stdout), node.text())
    second = run("sh", "-c", "WSD_CONFIG=/etc/wsd/wsd.toml wsd")
    check("a second one says what is in the way", second.returncode == 1 and "wsd.toml: listen.addresses" in second.stdout, second.stdout)
    node.process.send_signal(signal.SIGTERM)
    check("SIGTERM lets clients go with 1001", client.close_code() == 1001)
    check("and ends with 0", node.process.wait(30) == 0, node.text())


def as_its_user():
    run("install", "-d", "-o", "wsd", "-g", "wsd", "/run/wsd")
    node = Foreground("--userspec=wsd:wsd", root, "wsd")
    check("it needs no root", node.ready() and WebSocket(PUBLIC).ask("a") == "A", node.text())
    check("which its tools are told as well", "generation 1" in run("wsd", "status").stdout)
    check("it ends with 0", node.stop() == 0, node.text())


def with_nothing_to_write_to():
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    node = Foreground(root, "wsd")
    check("on a read-only disk it says what it cannot make", not node.ready() and "admin.control" in node.text(), node.text())
    check("and fails", node.process.wait(10) == 1)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{root}/run"], check=True)
    node = Foreground(root, "wsd")
    check("with a /run it works", node.ready() and WebSocket(PUBLIC).ask("a") == "A", node.text())
    check("and ends with 0", node.stop() == 0, node.text())
    subprocess.run(["umount", f"{root}/run"], check=True)
    subprocess.run(["mount", "-o", "remount,rw", root], check=True)


def without_a_configuration():
    os.rename(f"{root}/etc/wsd", f"{root}/etc/elsewhere")
    done = run("wsd")
    check("without /etc/wsd it says so", done.returncode == 78 and "/etc/wsd/wsd.toml: no such file" in done.stdout, done.stdout)
    os.rename(f"{root}/etc/elsewhere", f"{root}/etc/wsd")


def purged():
    done = run("apt-get", "purge", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "wsd")
    check("it is purged", done.returncode == 0, done.stdout)
    left = run("find", "/etc", "/usr", "/var/lib", "-xdev", "-name", "*wsd*").stdout
    check("no file is left", not left, left)


if __name__ == "__main__":
    try:
        set_up(sys.argv[1])
        installed(sys.argv[2])
        in_the_foreground()
        as_its_user()
        with_nothing_to_write_to()
        without_a_configuration()
        purged()
    except (Closed, OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        check("the steps run to their end", False, f"{type(error).__name__}: {error}")
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", work], check=False)
        os.rmdir(work)
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)
