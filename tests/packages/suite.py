"""The packages as an administrator has them: install, start, talk, reload, break, mend, upgrade, downgrade, remove, purge.

Run by scripts/test-packages, inside the network of a booted container: `suite.py CONTAINER FOLDER [rpm]`. FOLDER is what
scripts/package made. Prints a line for each check and ends with the counts; exit code 1 if one failed. The steps follow
each other: each begins where the one before ended.
"""

import collections
import glob
import gzip
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "systemd"))

from machine import REPOSITORY, Machine, eventually  # noqa: E402
from websocket import Closed, WebSocket, http_status  # noqa: E402

HIGHER = "99.0.0"
PUBLIC, ADMIN = 8080, 9464
passed = failed = 0
m = Machine(sys.argv[1])
folder = sys.argv[2]
work = tempfile.mkdtemp(prefix="wsd-packages-")


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


def only(pattern):
    (found,) = glob.glob(os.path.join(folder, pattern))
    return found


def inside(path):
    return m.root + path


def put(source, name):
    """Copies a package into the container."""
    shutil.copy(source, inside(f"/root/{name}"))
    return f"/root/{name}"


def mode_and_group(path):
    """Such as "750 root wsd", with the names as they are inside."""
    return m.run("stat", "-c", "%a %U %G", path).stdout.strip()


def ask(text="hello", where=PUBLIC):
    return WebSocket(where).ask(text)


def apt(*arguments):
    command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "-o"]
    return m.run(*command, "Dpkg::Options::=--force-confold", *arguments, patience=180)


def state(unit="wsd"):
    return [m.show(unit, name) for name in ["ActiveState", "UnitFileState"]]


def higher_deb():
    """The same program as a later version whose configuration has another text."""
    tree = os.path.join(work, "deb")
    subprocess.run(["dpkg-deb", "-R", only("wsd_*.deb"), tree], check=True)
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control) as file:
        lines = [f"Version: {HIGHER}" if line.startswith("Version:") else line.rstrip("\n") for line in file]
    with open(control, "w") as file:
        file.write("\n".join(lines) + "\n")
    with open(os.path.join(tree, "etc/wsd/wsd.toml"), "a") as file:
        file.write("# of the later version\n")
    made = os.path.join(work, f"wsd_{HIGHER}.deb")
    subprocess.run(["dpkg-deb", "-Znone", "-b", tree, made], check=True, stdout=subprocess.DEVNULL)
    return made


def installed_and_started(owner="750 root wsd", enabled="enabled"):
    check("the service runs and starts at boot", state() == ["active", enabled], state())
    for unit in ["wsd.socket", "wsd@.socket", "wsd@.service"]:
        said = m.systemctl("is-enabled", unit).stdout.strip()
        check(f"{unit} is there and disabled", said == "disabled", said)
    check("a client that says something hears it", ask() == "hello")
    check("the admin address answers", http_status(ADMIN, "/readyz") == 200)
    check("/etc/wsd is for root and the group wsd", mode_and_group("/etc/wsd") == owner, mode_and_group("/etc/wsd"))
    who = m.run("getent", "passwd", "wsd").stdout.strip()
    check("the user cannot log in", who.endswith(":/var/lib/wsd:/usr/sbin/nologin"), who)
    this = f"_SYSTEMD_INVOCATION_ID={m.show('wsd', 'InvocationID')}"
    found = m.journal("-p", "warning", this)
    check("its journal has neither errors nor warnings", m.journal(this) and not found, found)
    text = m.run("journalctl", "-x", "-u", "wsd.service", "WSD_EVENT=ready").stdout
    check("the catalogue is in place", "Subject: wsd is ready" in text, text)
    done = m.run("runuser", "-u", "wsd", "--", "wsd", "status")
    check("the service's group may ask for its status", done.returncode == 0 and "generation" in done.stdout, done.stdout)
    done = m.run("wsd", "check", "--strict")
    check("the shipped configuration is right as it is", done.returncode == 0, done.stdout)
    pages = {name: page(name) for name in ["man8/wsd.8.gz", "man5/wsd.toml.5.gz"]}
    missing = [key for key in keys() if key not in pages["man5/wsd.toml.5.gz"]]
    check("wsd.toml(5) has every key", not missing, missing)
    missing = [code for code in [0, 1, 2, 70, 78] if f".B {code}\n" not in pages["man8/wsd.8.gz"]]
    missing += [name for name in metrics() if name not in pages["man8/wsd.8.gz"]]
    check("wsd(8) has every exit code and metric", not missing, missing)
    completion = "/usr/share/bash-completion/completions/wsd"
    script = f'. {completion}; COMP_WORDS=(wsd re); COMP_CWORD=1; _wsd wsd re wsd; echo "${{COMPREPLY[@]}}"'
    done = m.run("bash", "-c", script)
    check("bash completes a command", "reload" in done.stdout.split(), done.stdout)


def page(name):
    with gzip.open(inside(f"/usr/share/man/{name}"), "rt") as file:
        return file.read().replace("\\-", "-")


def keys():
    """Of the list in the source; what stands in an inline table is there by its own name."""
    with open(os.path.join(REPOSITORY, "src/config/keys.rs")) as source:
        names = re.findall(r'(?:live|new|restart)\("([a-z_.]+)"', source.read().split("pub const KEYS")[1])
    assert len(names) > 50
    return [f"{name.split('.')[-1]} = " if name.count(".") == 2 and name.startswith("channel.") else f"{name}\\fR = " for name in names]


def metrics():
    """Of the node itself."""
    with socket.create_connection(("127.0.0.1", ADMIN), 10) as stream:
        stream.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        names = re.findall(r"^# TYPE (\w+) ", stream.makefile("r").read(), re.M)
    assert len(names) > 20
    return names


def examples_of_drop_ins(notify_reload):
    """Each beside the unit, judged by this systemd; and those that change how it runs, tried."""
    examples = "/usr/share/doc/wsd/examples/systemd"
    for name in sorted(os.listdir(inside(examples))):
        if name == "notify-reload.conf" and not notify_reload:
            continue
        unit = "wsd.socket" if name.startswith("socket") else "wsd.service"
        dropin = f"/run/systemd/system/{unit}.d/test.conf"
        m.run("install", "-D", "-m", "644", f"{examples}/{name}", dropin)
        m.run("install", "-d", "-m", "700", "/etc/credstore")
        for secret in ["admin-token", "redis-password"]:
            m.run("sh", "-c", f"umask 077; echo quite-secret >/etc/credstore/wsd.{secret}")
        m.systemctl("daemon-reload")
        done = m.run("systemd-analyze", "verify", "--man=no", "wsd.service", "wsd.socket")
        check(f"verify is silent with {name}", done.returncode == 0 and not done.stdout, done.stdout)
        if unit == "wsd.service":
            if name == "secrets.conf":
                m.write("/etc/wsd/conf.d/token.toml", '[admin]\ntoken = "credential:admin-token"\n')
            done = m.systemctl("restart", "wsd")
            check(f"the service runs with {name}", done.returncode == 0 and ask() == "hello", done.stdout)
            if name == "secrets.conf":
                text = "POST /publish/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer quite-secret\r\n"
                said = posted(text)
                check("and has the secret", said == 204, said)
                done = m.run("wsd", "check")
                check("wsd check has nothing against it", done.returncode == 0, done.stdout)
            if name == "notify-reload.conf":
                done = m.systemctl("reload", "wsd")
                check("and reloads", done.returncode == 0 and ask() == "hello", done.stdout)
        m.run("sh", "-c", f"rm -rf {dropin} /etc/credstore/wsd.* /etc/wsd/conf.d/token.toml")
    m.systemctl("daemon-reload")
    m.systemctl("restart", "wsd")


def posted(head):
    with socket.create_connection(("127.0.0.1", ADMIN), 10) as stream:
        stream.sendall(f"{head}Content-Length: 2\r\nConnection: close\r\n\r\nhi".encode())
        return int(stream.makefile("rb").readline().split()[1])


def reload_break_mend():
    client, pid = WebSocket(PUBLIC), m.main_pid()
    m.write("/etc/wsd/hooks/20-shout.lua", "function on_message(conn, m)\n  return m:upper()\nend\n")
    changed = eventually(lambda: client.ask("loud") == "LOUD")
    check("a saved hook is taken over by itself", changed)
    m.write("/etc/wsd/conf.d/test.toml", "[limits]\nconections = 5\n")
    done = m.systemctl("reload", "wsd")
    check("systemctl reload fails on a mistake", done.returncode == 1, done.stdout)
    text = m.run("journalctl", "-u", "wsd", "-o", "cat", "-n", "20").stdout
    check("the journal has file and line", "/etc/wsd/conf.d/test.toml:2:1: limits.conections: unknown key" in text, text)
    done = m.run("wsd", "reload")
    check("wsd reload says the same", "/etc/wsd/conf.d/test.toml:2:1" in done.stdout, done.stdout)
    check("nothing has changed for clients", client.ask("still") == "STILL" and m.main_pid() == pid)
    m.write("/etc/wsd/conf.d/test.toml", "[limits]\nconnections = 500\n")
    done = m.systemctl("reload", "wsd")
    check("mended, it is taken over", done.returncode == 0, done.stdout)
    check("over the same connection", client.ask("on") == "ON" and m.main_pid() == pid)


def rights():
    """What the service cannot read is refused before it has to; who may not look is told how to."""
    m.write("/etc/wsd/hooks/30-private.lua", "function on_connect() end\n", 0o600)
    done = m.run("wsd", "check")
    right = done.returncode == 78 and "30-private.lua: " in done.stdout and "the user wsd" in done.stdout
    check("root's wsd check judges by the service's rights", right, done.stdout)
    done = m.run("runuser", "-u", "nobody", "--", "wsd", "check")
    right = done.returncode == 1 and "sudo -u wsd wsd check" in done.stdout
    check("somebody else is told whom to ask as", right, done.stdout)
    done = m.run("runuser", "-u", "wsd", "--", "wsd", "check")
    check("the service's user is the judge itself", done.returncode == 78 and "sudo" not in done.stdout, done.stdout)
    m.remove("/etc/wsd/hooks/30-private.lua")
    done = m.run("wsd", "check")
    check("and with rights all is well", done.returncode == 0, done.stdout)


def instance():
    m.write("/etc/wsd/blue.toml", '[listen]\naddresses = ["127.0.0.1:8081"]\n[admin]\nhttp = "127.0.0.1:9465"\n')
    done = m.systemctl("enable", "--now", "wsd@blue")
    check("an instance starts", done.returncode == 0 and ask("a", 8081) == "A", done.stdout)


def upgraded(package):
    pids = [m.main_pid(), m.main_pid("wsd@blue")]
    # Whoever edits the shipped file keeps it.
    with open(inside("/etc/wsd/wsd.toml"), "a") as file:
        file.write("[heartbeat]\ninterval = \"20s\"\n")
    done = apt("install", put(package, "higher.deb"))
    check("the higher version is installed", done.returncode == 0 and f"({HIGHER})" in done.stdout, done.stdout)
    check("the edited configuration stays", "20s" in read("/etc/wsd/wsd.toml") and "later" not in read("/etc/wsd/wsd.toml"))
    check("the new one lies beside it", "later" in read("/etc/wsd/wsd.toml.dpkg-dist"))
    check("service and instance were restarted", restarted(pids), pids)
    check("and serve", ask("b") == "B" and ask("b", 8081) == "B")
    check("/etc/wsd has the mode that it had", mode_and_group("/etc/wsd") == "750 root wsd", mode_and_group("/etc/wsd"))


def restarted(pids):
    now = [m.main_pid(), m.main_pid("wsd@blue")]
    return 0 not in now and all(a != b for a, b in zip(pids, now))


def read(path):
    try:
        with open(inside(path)) as file:
            return file.read()
    except OSError as error:
        return str(error)


def upgrade_beside_a_mistake(package):
    client, pid = WebSocket(PUBLIC), m.main_pid()
    m.write("/etc/wsd/conf.d/test.toml", "[limits]\nconections = 5\n")
    done = m.run("dpkg", "-i", put(package, "higher.deb"), patience=180)
    check("an upgrade while the configuration is broken ends well", done.returncode == 0, done.stdout)
    said = "/etc/wsd/conf.d/test.toml:2:1" in done.stdout and "wsd.service goes on" in done.stdout
    check("says so", said, done.stdout)
    check("and interrupts nobody", client.ask("c") == "C" and m.main_pid() == pid)
    m.remove("/etc/wsd/conf.d/test.toml")
    check("mended, it restarts", m.systemctl("restart", "wsd").returncode == 0 and ask("d") == "D")


def downgraded(package):
    pids = [m.main_pid(), m.main_pid("wsd@blue")]
    done = apt("install", "--allow-downgrades", put(package, "lower.deb"))
    check("the lower version is installed again", done.returncode == 0, done.stdout)
    check("runs and serves", restarted(pids) and ask("e") == "E" and "20s" in read("/etc/wsd/wsd.toml"))


def sockets(package):
    """As the manual says: the socket unit instead of wsd's own binding, and back."""
    m.systemctl("disable", "--now", "wsd.service")
    done = m.systemctl("enable", "--now", "wsd.socket")
    check("the socket unit can be enabled", done.returncode == 0, done.stdout)
    check("a client starts the service", ask("f") == "F" and state()[0] == "active", state())
    text = m.run("wsd", "status").stdout
    check("wsd status names the socket unit", "wsd.socket" in text, text)
    answers, over = [], threading.Event()
    knocking = threading.Thread(target=knock, args=[answers, over])
    knocking.start()
    pid = m.main_pid()
    done = apt("install", "--reinstall", package)
    over.set()
    knocking.join()
    check("the package is installed anew under it", done.returncode == 0 and m.main_pid() != pid, done.stdout)
    check("and refuses nobody meanwhile", len(answers) > 10 and set(answers) == {"G"}, collections.Counter(answers))
    done = m.systemctl("stop", "wsd.socket", "wsd")
    check("both stop together", done.returncode == 0 and state()[0] == "inactive" and state("wsd.socket")[0] == "inactive")
    m.systemctl("start", "wsd.socket")


def knock(answers, over):
    """One client after the other, until it is over."""
    while not over.is_set():
        try:
            client = WebSocket(PUBLIC)
            answers.append(client.ask("g"))
            client.bye()
        except (Closed, OSError) as error:
            # Who was let in before a restart and is told to come back was not refused.
            if not (isinstance(error, Closed) and error.code in (1001, 1012)):
                answers.append(f"{type(error).__name__}: {error}")


def removed():
    done = apt("remove", "wsd")
    check("it is removed", done.returncode == 0, done.stdout)
    check("nothing listens", refuses(PUBLIC) and refuses(8081))
    running = m.run("sh", "-c", "grep -sx wsd /proc/[0-9]*/comm; ls -d /run/wsd* 2>/dev/null").stdout
    check("nothing runs, nothing is in /run", not running, running)
    check("the configuration stays", "20s" in read("/etc/wsd/wsd.toml") and os.path.exists(inside("/etc/wsd/hooks/20-shout.lua")))
    check("the program is gone", not os.path.exists(inside("/usr/bin/wsd")))
    failed_units = m.systemctl("--failed", "--no-legend").stdout.strip()
    check("no unit has failed", not failed_units, failed_units)


def refuses(port):
    try:
        ask(where=port)
        return False
    except ConnectionRefusedError:
        return True


def installed_again(package):
    done = apt("install", put(package, "wsd.deb"))
    check("it can be installed again", done.returncode == 0, done.stdout)
    # Disabled before the removal, with the socket unit in its place: so it comes back.
    check("as it was left", state("wsd.socket")[1] == "enabled" and state()[1] == "disabled", state())
    m.systemctl("start", "wsd.socket")
    check("with its configuration", ask("g") == "G")


def purged():
    done = apt("purge", "wsd")
    check("it is purged", done.returncode == 0, done.stdout)
    # What is left of the name, but for the files that this test brought and the logs of apt and dpkg.
    names = m.run(
        "find", "/", "-xdev", "(", "-path", "/proc", "-o", "-path", "/sys", "-o", "-path", "/root", "-o", "-path", "/var/log", ")",
        "-prune", "-o", "-name", "*wsd*", "-print",
    ).stdout.strip()  # fmt: skip
    check("no file is left", not names, names)
    left = m.run("getent", "passwd", "wsd").stdout + m.run("getent", "group", "wsd").stdout
    check("no user and no group", not left, left)
    units = m.systemctl("list-units", "--all", "--no-legend", "wsd*").stdout.strip()
    check("no unit", not units, units)
    text = m.run("dpkg", "-l", "wsd").stdout
    check("dpkg does not know it", "\nrc " not in text and "\nii " not in text, text)


def higher_rpm():
    tree, made = os.path.join(folder, "rpm", "tree"), os.path.join(work, "higher.rpm")
    config = os.path.join(tree, "etc/wsd/wsd.toml")
    with open(config) as file:
        before = file.read()
    maker = os.path.join(os.path.dirname(folder), "tools/bin/cargo-generate-rpm")
    command = [maker, "generate-rpm", "--metadata-overwrite", os.path.join(folder, "rpm/wsd.toml")]
    try:
        with open(config, "a") as file:
            file.write("# of the later version\n")
        command += ["-s", f'version = "{HIGHER}"', "--payload-compress", "none", "--output", made]
        subprocess.run(command, check=True, cwd=REPOSITORY)
    finally:
        with open(config, "w") as file:
            file.write(before)
    return made


def rpm(*arguments):
    # Debian's rpm has neither a database nor the distribution's packages: dependencies are compared below, by their text.
    return m.run("rpm", "--nodeps", "--force-debian", *arguments, patience=180)


def rpm_says_what_it_is(package):
    def query(*arguments):
        return subprocess.run(["rpm", "-qp", *arguments, package], check=True, capture_output=True, text=True).stdout

    requires = query("--requires").split("\n")
    for wanted in ["dbus", "systemd >= 252", "libc.so.6(GLIBC_2.34)(64bit)"]:
        check(f"the rpm requires {wanted}", wanted in requires, requires)
    newer = [line for line in requires if "GLIBC_" in line and tuple(map(int, version(line))) > (2, 34)]
    check("and nothing newer than RHEL 9 has", not newer and not any("stdc++" in line for line in requires), newer)
    listed = query("--qf", "[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags} %{FILENAMES}\n]")
    print("".join(f"# {line}\n" for line in listed.splitlines()), end="", flush=True)
    rows = [line.split(" ") for line in listed.splitlines()]
    config = [row for row in rows if row[3].startswith("/etc/")]
    check("its configuration is for root and the group", len(config) == 2 and all(row[0:3] == ["-rw-r-----", "root:wsd", "cn"] for row in config))
    others = [row for row in rows if row not in config and (row[1] != "root:root" or row[0] not in ("-rw-r--r--", "-rwxr-xr-x"))]
    check("everything else is root's", not others, others)
    check("the program alone may be run", [row[3] for row in rows if "x" in row[0]] == ["/usr/bin/wsd"])
    symbols = subprocess.run(["nm", os.path.join(folder, "rpm/tree/usr/bin/wsd")], capture_output=True, text=True)
    check("it is stripped", "no symbols" in symbols.stderr, symbols.stderr)


def version(line):
    return line.split("GLIBC_")[1].split(")")[0].split(".")[:2]


def rpm_lives(package, higher):
    done = rpm("-i", put(package, "wsd.rpm"))
    others = [line for line in done.stdout.splitlines() if not line.startswith("Creating ")]
    check("the rpm is installed, and only creates its user", done.returncode == 0 and not others, done.stdout)
    check("nothing is started by that", state()[0] == "inactive", state())
    done = m.systemctl("start", "wsd")
    check("it starts", done.returncode == 0, done.stdout)
    installed_and_started(enabled=state()[1])
    for path in ["/etc/wsd/conf.d", "/etc/wsd/hooks", "/etc/wsd/lua"]:
        check(f"{path} is for root and the group", mode_and_group(path) == "750 root wsd", mode_and_group(path))
    done = rpm("-V", "wsd")
    check("rpm -V finds nothing changed", done.returncode == 0 and not done.stdout, done.stdout)
    reload_break_mend()
    instance()
    pids = [m.main_pid(), m.main_pid("wsd@blue")]
    with open(inside("/etc/wsd/wsd.toml"), "a") as file:
        file.write("[heartbeat]\ninterval = \"20s\"\n")
    done = rpm("-U", put(higher, "higher.rpm"))
    check("the rpm is upgraded", done.returncode == 0, done.stdout)
    check("the edited configuration stays", "20s" in read("/etc/wsd/wsd.toml"))
    check("the new one lies beside it", "later" in read("/etc/wsd/wsd.toml.rpmnew"))
    check("service and instance were restarted", restarted(pids) and ask("a") == "A" and ask("b", 8081) == "B")
    m.write("/etc/wsd/conf.d/test.toml", "[limits]\nconections = 5\n")
    client, pid = WebSocket(PUBLIC), m.main_pid()
    done = rpm("-U", "--oldpackage", "/root/wsd.rpm")
    check("a downgrade beside a mistake interrupts nobody", client.ask("c") == "C" and m.main_pid() == pid, done.stdout)
    check("and says so", "/etc/wsd/conf.d/test.toml:2:1" in done.stdout and "wsd.service goes on" in done.stdout, done.stdout)
    done = rpm("-e", "wsd")
    check("the rpm is erased", done.returncode == 0, done.stdout)
    check("nothing listens", refuses(PUBLIC) and refuses(8081))
    check("the edited configuration is kept", "20s" in read("/etc/wsd/wsd.toml.rpmsave"))
    links = m.run("sh", "-c", "ls /etc/systemd/system/*/wsd.service 2>&1").stdout
    check("nothing of it is enabled", "No such file" in links, links)


def main():
    deb, higher = only("wsd_*.deb"), higher_deb()
    done = apt("install", put(deb, "wsd.deb"))
    check("apt install ./wsd_*.deb", done.returncode == 0, done.stdout)
    check("without a warning", "arning" not in done.stdout, done.stdout)
    installed_and_started()
    units = ["wsd.service", "wsd.socket", "wsd@blue.service", "wsd@blue.socket"]
    done = m.run("systemd-analyze", "verify", "--man=no", *units)
    check("systemd-analyze verify is silent", done.returncode == 0 and not done.stdout, done.stdout)
    for unit in ["wsd.service", "wsd@blue.service"]:
        done = m.run("systemd-analyze", "security", "--no-pager", "--threshold=12", unit)
        check(f"exposure of {unit} is at most 1.2", done.returncode == 0, done.stdout)
    number = int(m.run("systemctl", "--version").stdout.split()[1])
    examples_of_drop_ins(notify_reload=number >= 253)
    reload_break_mend()
    rights()
    instance()
    upgraded(higher)
    upgrade_beside_a_mistake(higher)
    downgraded(deb)
    sockets("/root/lower.deb")
    removed()
    installed_again(deb)
    purged()
    if "rpm" in sys.argv[3:]:
        package = only("wsd-*.rpm")
        rpm_says_what_it_is(package)
        rpm_lives(package, higher_rpm())


if __name__ == "__main__":
    try:
        main()
    except (Closed, OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        check("the steps run to their end", False, f"{type(error).__name__}: {error}")
        print(m.run("journalctl", "-n", "30", "--no-pager").stdout, flush=True)
    finally:
        shutil.rmtree(work)
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)
