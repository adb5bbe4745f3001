"""wsd as a service of a real systemd: start, reload, watchdog, sockets, journal, stop.

Run by scripts/test-systemd, inside the network of a booted container: `suite.py CONTAINER BINARY`. Prints a line for
each check and ends with the counts; exit code 1 if one failed. Each scenario begins from a stopped service and the
configuration below.
"""

import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from machine import BOOT, UNITS, Machine, eventually
from websocket import Closed, WebSocket, connect, http_status

CONFIG = """\
[listen]
addresses = ["127.0.0.1:8080"]
[runtime]
workers = 2
[hooks]
watch = false
[drain]
over = "1s"
[admin]
http = "127.0.0.1:9464"
"""
HOOK = """\
function on_message(conn, message)
  if message == "order" then
    log.warn("ordered", { order = "two\\nlines" })
  elseif message == "forge" then
    log.warn("forged", { user = "made up" })
  end
  return "%s:" .. message
end
"""
PUBLIC, ADMIN = 8080, 9464
passed = failed = 0
m = Machine(sys.argv[1])


def check(what, condition, detail=""):
    global passed, failed
    if condition:
        passed += 1
        print(f"ok - {what}", flush=True)
    else:
        failed += 1
        print(f"FAIL - {what}", flush=True)
        for line in str(detail).splitlines()[-20:]:
            print(f"    {line}", flush=True)


def event_id(name):
    """MESSAGE_ID of an event, from the table in the source."""
    table = os.path.join(os.path.dirname(UNITS), "..", "src", "log", "event.rs")
    with open(table) as source:
        return re.search(rf'event\("{name}", "([0-9a-f]{{32}})"\)', source.read()).group(1)


def records(event):
    return m.journal("-u", "wsd.service", f"MESSAGE_ID={event_id(event)}")


def configure(config=CONFIG, greeting="one"):
    m.write("/etc/wsd/wsd.toml", config)
    m.write("/etc/wsd/hooks/10-greet.lua", HOOK % greeting)


def started():
    """A service that runs with the usual configuration."""
    configure()
    done = m.systemctl("start", "wsd")
    if done.returncode != 0:
        raise RuntimeError(done.stdout + m.run("journalctl", "-n", "20", "-u", "wsd").stdout)


def units_are_in_order():
    units = ["wsd.service", "wsd.socket", "wsd@blue.service", "wsd@blue.socket"]
    done = m.run("systemd-analyze", "verify", "--man=no", *units)
    check("systemd-analyze verify is silent", done.returncode == 0 and not done.stdout, done.stdout)
    for unit in ["wsd.service", "wsd@blue.service"]:
        done = m.run("systemd-analyze", "security", "--no-pager", "--threshold=12", unit)
        level = done.stdout.strip().splitlines()[-1]
        check(f"exposure of {unit} is at most 1.2", done.returncode == 0, done.stdout)
        print(f"# {level}", flush=True)
    done = m.systemctl("is-enabled", "wsd.socket")
    check("the socket unit is not enabled", done.stdout.strip() == "disabled", done.stdout)
    done = m.run("id", "-u", "wsd")
    check("the user is there and not root", int(done.stdout) > 0, done.stdout)


def ready_means_listening():
    configure()
    for attempt in range(5):
        done = m.systemctl("restart", "wsd")
        # No second try: when systemctl comes back the sockets listen and the scripts are loaded.
        answer = WebSocket(PUBLIC).ask("hello")
        if done.returncode != 0 or answer != "one:hello":
            check("READY only after listening", False, f"{attempt}: {done.stdout} {answer}")
            return
    check("READY only after listening", True)
    check("the admin address answers", http_status(ADMIN, "/readyz") == 200)
    text = eventually(lambda: m.show("wsd", "StatusText"))
    check("STATUS names the generation", "generation 1" in text, text)
    with open(f"{m.root}/proc/{m.main_pid()}/status") as status:
        status = status.read()
    limits = ["NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000", "CapEff:\t0000000000000000"]
    check("the sandbox is applied", all(limit in status for limit in limits), status)
    uid = int(m.run("id", "-u", "wsd").stdout)
    check("it runs as wsd", f"Uid:\t{uid}\t{uid}" in status, status)


def records_have_fields():
    started()
    ready = records("ready")
    check("the journal has a record of ready", ready)
    if ready:
        last = ready[-1]
        right = {"PRIORITY": "6", "SYSLOG_IDENTIFIER": "wsd", "_TRANSPORT": "journal", "WSD_EVENT": "ready"}
        found = {name: last.get(name) for name in right}
        check("with priority, identifier and event", found == right, last)
        check("whose message says so", last["MESSAGE"].startswith("ready: "), last["MESSAGE"])
        check("and names the place in the code", last.get("CODE_LINE") and last.get("TARGET"), last)
    text = m.run("journalctl", "-x", "-u", "wsd.service", f"MESSAGE_ID={event_id('ready')}").stdout
    check("the catalogue explains it", "Subject: wsd is ready" in text, text)

    WebSocket(PUBLIC).ask("order")
    found = eventually(lambda: m.journal("-u", "wsd.service", "WSD_ORDER=two\nlines"))
    check("a script's field is in the journal, with its newline", found)
    if found:
        last = found[-1]
        check("with message and priority", (last["MESSAGE"], last["PRIORITY"]) == ("ordered", "4"), last)
        check("and what wsd knows", last.get("WSD_SCRIPT") and last.get("WSD_LINE") == "3", last)
        check("and the connection", last.get("WSD_CONN") and last.get("WSD_GENERATION") == "1", last)

    # A field of wsd's own is refused: the hook fails, and the record of that says where.
    client = WebSocket(PUBLIC)
    client.send("forge")
    found = eventually(lambda: records("script_failed"))
    check("a field of wsd's own is refused", found and "is wsd's own" in found[-1]["MESSAGE"], found)
    if found:
        place = (found[-1].get("WSD_SCRIPT"), found[-1].get("WSD_LINE"), found[-1]["PRIORITY"])
        check("with script and line", place == ("/etc/wsd/hooks/10-greet.lua", "5", "3"), found[-1])
    check("and nothing of it is logged", not m.journal("-u", "wsd.service", "WSD_USER=made up"))
    answer = client.ask("hello")
    check("the connection goes on", answer == "one:hello", answer)

    # Refused handshakes: the first at once, with who and why; the others wait for their minute.
    for _ in range(5):
        http_status(PUBLIC, "/chat")
    found = eventually(lambda: records("handshake_refused"))
    check("a refused handshake is in the journal", found)
    if found:
        last = found[-1]
        right = (last.get("WSD_REMOTE"), last["PRIORITY"], last["MESSAGE"].startswith("handshake refused: 4"))
        check("with address, status and reason", right == ("127.0.0.1", "6", True), last)
    check("at most once for each worker", 1 <= len(records("handshake_refused")) <= 2, found)


def the_access_log_is_debug():
    configure(CONFIG + '[log]\nlevel = "info,conn=debug"\n')
    m.systemctl("start", "wsd")
    client = WebSocket(PUBLIC)
    client.ask("hello")
    client.bye()
    found = eventually(lambda: [r for r in m.journal("-u", "wsd.service", "TARGET=conn") if "closed: " in r["MESSAGE"]])
    check("the close is in the journal, with code, duration and bytes", found)
    if found:
        right = re.search(r"^closed: 1000 .* after 0\.\d s, \d+ bytes in, \d+ bytes out$", found[-1]["MESSAGE"])
        check("as it should be", right and found[-1]["PRIORITY"] == "7", found[-1])
        opened = m.journal("-u", "wsd.service", f"WSD_CONN={found[-1]['WSD_CONN']}")
        check("so is its beginning, under the same name", opened[0]["MESSAGE"] == "open", opened)


def reload_answers():
    started()
    pid, client = m.main_pid(), WebSocket(PUBLIC)
    configure(greeting="two")
    done = m.systemctl("reload", "wsd")
    check("systemctl reload of a good configuration", done.returncode == 0, done.stdout)
    answer = client.ask("hello")
    check("the same connection meets the new script", answer == "two:hello", answer)
    check("the journal has a record of it", records("reloaded"))

    configure(CONFIG + "[limits]\nconections = 1\n", "three")
    refused("TOML", r"/etc/wsd/wsd\.toml:12:1: limits\.conections: unknown key", pid, client)
    configure()
    m.write("/etc/wsd/hooks/10-greet.lua", "function on_message(\n  return 1\nend\n")
    refused("Lua", r"/etc/wsd/hooks/10-greet\.lua:2", pid, client)
    configure(greeting="three")
    m.systemctl("kill", "-s", "HUP", "--kill-who=main", "wsd")
    check("SIGHUP does the same", eventually(lambda: client.ask("hello") == "three:hello"))
    check("all that in one process", m.main_pid() == pid)


def refused(kind, problem, pid, client):
    begin = m.run("journalctl", "-n", "0", "--show-cursor").stdout.split("cursor: ")[-1].strip()
    done = m.systemctl("reload", "wsd")
    check(f"systemctl reload of bad {kind} fails", done.returncode == 1, done.stdout)
    state = (m.show("wsd", "ActiveState"), m.show("wsd", "SubState"), m.main_pid())
    check("the unit stays as it was", state == ("active", "running", pid), state)
    text = "\n".join(record.get("MESSAGE", "") for record in m.journal("-u", "wsd", f"--after-cursor={begin}"))
    check("the journal names file and line", re.search(problem, text), text)
    done = m.run("wsd", "reload")
    right = done.returncode == 1 and re.search(problem, done.stdout)
    check("so does wsd reload, with exit code 1", right, f"{done.returncode}: {done.stdout}")
    answer = client.ask("hello")
    check("the running generation stays", answer == "two:hello", answer)
    check("the journal has a record of the refusal", records("reload_refused"))


def watchdog_bites():
    m.write("/run/systemd/system/wsd.service.d/test.conf", "[Service]\nWatchdogSec=2\n", 0o644)
    m.systemctl("daemon-reload")
    started()
    pid = m.main_pid()
    pings = set()
    eventually(lambda: pings.add(m.show("wsd", "WatchdogTimestampMonotonic")) or len(pings) >= 4)
    check("an idle service feeds the watchdog", len(pings) >= 4 and m.main_pid() == pid, pings)
    os.kill(host_pid(pid), 19)
    again = eventually(lambda: m.main_pid() not in (0, pid) and m.show("wsd", "ActiveState") == "active")
    check("a stopped process is replaced", again, m.systemctl("status", "wsd").stdout)
    text = m.run("journalctl", "-u", "wsd", "-o", "cat").stdout
    check("by the watchdog", "Watchdog timeout" in text, text)
    check("once", m.show("wsd", "NRestarts") == "1", m.show("wsd", "NRestarts"))
    check("and serves again", WebSocket(PUBLIC).ask("hello") == "one:hello")


def host_pid(pid):
    """A process of the container as this side of its border names it."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/status") as status:
                    inner = re.search(r"^NSpid:\t\d+\t(\d+)$", status.read(), re.M)
                same = os.path.samefile(f"/proc/{name}/root", m.root)
            except OSError:
                continue
            if inner and int(inner.group(1)) == pid and same:
                return int(name)
    raise RuntimeError(f"process {pid} is not there")


def bad_configuration_is_final():
    configure(CONFIG + "[limits]\nconections = 1\n")
    done = m.systemctl("start", "wsd")
    check("a refused configuration fails the start", done.returncode != 0, done.stdout)
    # RestartSec= is 100 ms: by then a loop would show.
    time.sleep(1)
    state = [m.show("wsd", name) for name in ["ActiveState", "ExecMainStatus", "NRestarts"]]
    check("with 78, and without another try", state == ["failed", "78", "0"], state)
    text = m.run("journalctl", "-u", "wsd", "-o", "cat", "-n", "20").stdout
    problem = "/etc/wsd/wsd.toml:12:1: limits.conections: unknown key"
    check("the journal says where, once", text.count(problem) == 1, text)
    found = records("start_refused")
    check("in a record of it", len(found) == 1 and problem in found[0]["MESSAGE"], found)
    m.systemctl("reset-failed", "wsd")
    configure()
    m.write("/etc/wsd/hooks/10-greet.lua", "function on_message(\n  return 1\nend\n")
    m.systemctl("start", "wsd")
    state = [m.show("wsd", name) for name in ["ActiveState", "ExecMainStatus", "NRestarts"]]
    check("a script that does not compile likewise", state == ["failed", "78", "0"], state)
    found = records("start_refused")
    check("with its line", "/etc/wsd/hooks/10-greet.lua:2" in found[-1]["MESSAGE"], found)


def a_crash_is_survived():
    started()
    pid = m.main_pid()
    os.kill(host_pid(pid), 9)
    again = eventually(lambda: m.main_pid() not in (0, pid) and m.show("wsd", "ActiveState") == "active")
    check("a killed process is replaced", again and WebSocket(PUBLIC).ask("a") == "one:a")


def sockets_come_by_name():
    configure()
    m.write(
        "/run/systemd/system/wsd.socket.d/test.conf",
        "[Socket]\nListenStream=\nListenStream=127.0.0.1:7000\nListenStream=/run/wsd-test.sock\n",
        0o644,
    )
    m.write(
        "/run/systemd/system/wsd-admin.socket",
        "[Socket]\nListenStream=127.0.0.1:7001\nFileDescriptorName=admin\nService=wsd.service\n",
        0o644,
    )
    m.systemctl("daemon-reload")
    done = m.systemctl("start", "wsd.socket", "wsd-admin.socket")
    check("the socket units start", done.returncode == 0, done.stdout)
    state = m.show("wsd", "ActiveState")
    check("without the service", state == "inactive", state)
    check("the first connection starts it", WebSocket(7000).ask("a") == "one:a")
    state = m.show("wsd", "ActiveState")
    check("as systemd sees it too", state == "active", state)
    check("the Unix socket of the same unit serves", WebSocket(f"{m.root}/run/wsd-test.sock").ask("b") == "one:b")
    check("the socket named admin is the HTTP one", http_status(7001, "/healthz") == 200)
    check("listen.addresses is not bound", refuses(PUBLIC))
    check("which the journal says", records("listen_ignored"))
    m.systemctl("stop", "wsd")
    check("a connection to the Unix socket starts it too", WebSocket(f"{m.root}/run/wsd-test.sock").ask("c") == "one:c")


def wrong_sockets_are_named():
    configure()
    dropin = "/run/systemd/system/wsd.socket.d/test.conf"
    m.write(dropin, "[Socket]\nListenStream=\nListenDatagram=/run/wsd-test.dgram\n", 0o644)
    m.systemctl("daemon-reload")
    m.systemctl("start", "wsd.socket")
    done = m.systemctl("start", "wsd")
    text = m.run("journalctl", "-u", "wsd", "-o", "cat", "-n", "20").stdout
    right = done.returncode != 0 and 'descriptor 3 ("wsd"): is a datagram socket; must be a listening' in text
    check("a datagram socket fails the start and is named", right, text)
    check("without another try", m.show("wsd", "NRestarts") == "0", m.show("wsd", "NRestarts"))
    m.systemctl("stop", "wsd.socket")
    m.systemctl("reset-failed", "wsd.service")

    m.write(dropin, "", 0o644)
    m.write(
        "/run/systemd/system/wsd-admin.socket",
        "[Socket]\nListenStream=127.0.0.1:7001\nFileDescriptorName=metrics\nService=wsd.service\n",
        0o644,
    )
    m.systemctl("daemon-reload")
    m.systemctl("start", "wsd.socket", "wsd-admin.socket")
    check("beside a socket of an unknown name the others serve", WebSocket(PUBLIC).ask("a") == "one:a")
    text = "\n".join(record["MESSAGE"] for record in records("socket_ignored"))
    check("which the journal names", '"metrics"' in text, text)


def stop_says_goodbye():
    started()
    clients = [WebSocket(PUBLIC) for _ in range(5)]
    begun = time.monotonic()
    with ThreadPoolExecutor(len(clients)) as readers:
        # A client that answers the close is gone at once.
        codes = [readers.submit(client.close_code) for client in clients]
        done = m.systemctl("stop", "wsd")
        took = time.monotonic() - begun
        codes = [code.result() for code in codes]
    check("systemctl stop", done.returncode == 0, done.stdout)
    check("every client is closed with 1001", codes == [1001] * 5, codes)
    check("within drain.over and a moment", took < 5, took)
    state = [m.show("wsd", name) for name in ["ActiveState", "Result", "ExecMainStatus"]]
    check("exit code 0", state == ["inactive", "success", "0"], state)
    left = [path for path in ["/run/wsd", "/sys/fs/cgroup/system.slice/wsd.service"] if os.path.exists(m.root + path)]
    check("nothing is left", not left, left)
    check("the journal has a record of it", records("stopped"))


def a_long_stop_is_extended():
    """drain.over is longer than TimeoutStopSec=, and the clients do not answer."""
    configure(CONFIG.replace('over = "1s"', 'over = "5s"'))
    m.write("/run/systemd/system/wsd.service.d/test.conf", "[Service]\nTimeoutStopSec=2\n", 0o644)
    m.systemctl("daemon-reload")
    m.systemctl("start", "wsd")
    clients = [WebSocket(PUBLIC, patience=30) for _ in range(5)]
    begun = time.monotonic()
    stopping = subprocess.Popen([BOOT, "run", m.name, "systemctl", "stop", "wsd"])
    said = eventually(lambda: "stopping" in m.show("wsd", "StatusText"), 3)
    check("STATUS says that it stops", said, m.show("wsd", "StatusText"))
    check("nobody new is let in", refuses(PUBLIC))
    stopping.wait(60)
    took = time.monotonic() - begun
    check("a stop may take longer than TimeoutStopSec=", took > 4, took)
    check("but not for ever", took < 20, took)
    state = [m.show("wsd", name) for name in ["ActiveState", "Result", "ExecMainStatus"]]
    check("it was not killed", state == ["inactive", "success", "0"], state)
    codes = [client.close_code() for client in clients]
    check("who does not answer was told 1001 too", codes == [1001] * 5, codes)


def refuses(where):
    try:
        connect(where).close()
        return False
    except ConnectionRefusedError:
        return True


def nowhere_to_listen_is_final():
    configure(CONFIG.replace('["127.0.0.1:8080"]', "[]"))
    done = m.systemctl("start", "wsd")
    time.sleep(1)
    state = [m.show("wsd", name) for name in ["ActiveState", "ExecMainStatus", "NRestarts"]]
    check("no address and no socket fails the start", done.returncode != 0 and state == ["failed", "78", "0"], state)
    text = "\n".join(record["MESSAGE"] for record in records("start_refused"))
    check("the journal says what would be right", "/etc/wsd/wsd.toml: listen.addresses: is empty" in text, text)
    m.systemctl("reset-failed", "wsd")
    m.systemctl("start", "wsd.socket")
    check("with the socket unit it serves", WebSocket(PUBLIC).ask("a") == "one:a")


def an_address_in_use_is_tried_again():
    configure()
    taken = socket.create_server(("127.0.0.1", PUBLIC))
    m.systemctl("start", "wsd")
    tried = eventually(lambda: int(m.show("wsd", "NRestarts")) >= 2)
    check("systemd tries again", tried, m.show("wsd", "NRestarts"))
    found = records("start_failed")
    right = found and "/etc/wsd/wsd.toml:2:1: listen.addresses: 127.0.0.1:8080: another process listens" in found[-1]["MESSAGE"]
    check("the journal says why", right, found)
    taken.close()
    check("until it can be had", eventually(lambda: m.show("wsd", "ActiveState") == "active"))


def a_stalled_journal_stalls_nobody():
    configure()
    m.write(
        "/etc/wsd/hooks/10-greet.lua",
        'function on_message(conn, message)\n'
        '  if message == "flood" then for i = 1, 100 do log.info("flood", { n = i }) end end\n'
        "  return message\nend\n",
    )
    m.systemctl("start", "wsd")
    client, journald = WebSocket(PUBLIC), host_pid(m.main_pid("systemd-journald"))
    os.kill(journald, 19)
    try:
        begun = time.monotonic()
        answers = [client.ask("flood") for _ in range(300)]
        took = time.monotonic() - begun
    finally:
        os.kill(journald, 18)
    check("with the journal stopped messages go on", answers == ["flood"] * 300)
    check("as fast as ever", took < 10, took)
    found = eventually(lambda: records("log_dropped"))
    check("what was dropped is told afterwards", found and "log records dropped" in found[-1]["MESSAGE"], found)


def instances_have_their_own():
    m.write("/etc/wsd/blue.toml", CONFIG.replace("8080", "8090").replace("9464", "9474"))
    configure()
    done = m.systemctl("start", "wsd@blue")
    check("an instance starts", done.returncode == 0, done.stdout)
    check("and serves at its own address", WebSocket(8090).ask("a") == "one:a")
    done = m.run("wsd", "status", "-i", "blue", "--json")
    check("the tools find it by its name", done.returncode == 0 and '"generation":' in done.stdout, done.stdout)
    done = m.systemctl("reload", "wsd@blue")
    check("its reload answers", done.returncode == 0, done.stdout)
    done = m.systemctl("stop", "wsd@blue")
    check("it stops", done.returncode == 0 and m.show("wsd@blue", "Result") == "success", done.stdout)
    done = m.systemctl("start", "wsd@blue.socket", "wsd")
    check("its socket unit starts", done.returncode == 0, done.stdout)
    check("a client of it starts the instance", WebSocket(f"{m.root}/run/wsd-blue.sock").ask("b") == "one:b")
    text = m.run("wsd", "status", "-i", "blue").stdout
    check("whose status names that unit", "wsd@blue.socket" in text, text)
    check("wsd itself has its own", WebSocket(PUBLIC).ask("c") == "one:c" and m.main_pid("wsd@blue") != m.main_pid())
    done = m.systemctl("stop", "wsd@blue.socket", "wsd@blue")
    check("both stop together", done.returncode == 0 and not os.path.exists(f"{m.root}/run/wsd-blue"), done.stdout)


def small_limits_are_told():
    configure(CONFIG.replace("[runtime]", "backlog = 100000\n[runtime]") + "[limits]\nconnections = 5000\n")
    m.write("/run/systemd/system/wsd.service.d/test.conf", "[Service]\nLimitNOFILE=1024\n", 0o644)
    m.systemctl("daemon-reload")
    m.systemctl("start", "wsd")
    check("with small limits it serves", WebSocket(PUBLIC).ask("a") == "one:a")
    told = "\n".join(record["MESSAGE"] for record in records("limit_small"))
    check("too few open files are told", "limits.connections is 5000" in told and "LimitNOFILE=" in told, told)
    with open(f"{m.root}/proc/sys/net/core/somaxconn") as file:
        most = int(file.read())
    said = f"127.0.0.1:8080: only {most} connections may wait to be accepted, listen.backlog is 100000" in told
    check("a smaller backlog too", said and "net.core.somaxconn" in told, told)

    m.systemctl("stop", "wsd")
    m.remove("/run/systemd/system/wsd.service.d/test.conf")
    m.write("/run/systemd/system/wsd.socket.d/test.conf", "[Socket]\nBacklog=16\n", 0o644)
    configure()
    m.systemctl("daemon-reload")
    m.systemctl("start", "wsd.socket")
    check("with a socket unit of a small backlog it serves", WebSocket(PUBLIC).ask("a") == "one:a")
    last = records("limit_small")[-1]["MESSAGE"]
    check("and the unit is named", "only 16 connections" in last and last.endswith("Backlog= of wsd.socket"), last)


SCENARIOS = [
    units_are_in_order,
    ready_means_listening,
    records_have_fields,
    the_access_log_is_debug,
    reload_answers,
    watchdog_bites,
    bad_configuration_is_final,
    nowhere_to_listen_is_final,
    an_address_in_use_is_tried_again,
    a_crash_is_survived,
    sockets_come_by_name,
    wrong_sockets_are_named,
    stop_says_goodbye,
    a_long_stop_is_extended,
    a_stalled_journal_stalls_nobody,
    instances_have_their_own,
    small_limits_are_told,
]


def main():
    m.install(sys.argv[2])
    for scenario in SCENARIOS:
        print(f"# {scenario.__name__.replace('_', ' ')}", flush=True)
        m.fresh_start()
        try:
            scenario()
        except (Closed, OSError, RuntimeError, ValueError, KeyError) as error:
            check(f"{scenario.__name__} runs to its end", False, f"{type(error).__name__}: {error}")
    m.fresh_start()
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
