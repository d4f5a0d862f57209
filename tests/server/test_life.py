"""The life of a server: one per data directory, found or started by its clients, gone with the last of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from moonfs.server import serve
from moonfs.server.address import read_address, read_key
from moonfs.server.embed import EmbedError, attach
from moonfs.server.marker import claim

ROOT = Path(__file__).parent.parent.parent
#: What `moonfs serve` does.
SERVE = """
import sys
from moonfs.server.command import serve_command
sys.exit(serve_command({host!r}, 0, *sys.argv[1:]))
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def places(tmp_path):
    return tmp_path / "data", tmp_path / "run", tmp_path / "server.log"


@pytest.fixture
def client_process(places):
    """Start processes that attach, say `PID KEY`, and keep the server until their input ends."""
    code = textwrap.dedent(
        """
        import sys
        from moonfs.server.embed import attach
        with attach(*sys.argv[1:4]) as server:
            print(server.pid, server.key, flush=True)
            sys.stdin.read()
        """
    )
    started = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, places)]
        process = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_second_server_on_the_same_data_names_the_first(server):
    command = [sys.executable, "-m", "moonfs.server", "--data", str(server.data), "--host", "127.0.0.1"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"pid {server.process.pid}" in done.stderr
    assert server.client.get("/files").status_code == 200
    assert read_address(server.data).pid == server.process.pid


def test_serve_prints_where_it_is_and_where_the_key_is(places, until):
    data, run, _ = places
    code = SERVE.format(host="127.0.0.1")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(data), str(run)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    printed = [process.stdout.readline(), process.stdout.readline()]
    address = read_address(data)
    assert printed == [f"Serving the Files API at {address.base_url}\n", f"The API key is in {data}/key\n"]
    assert read_key(data) not in "".join(printed)
    assert json.loads((data / "server.json").read_text())["pid"] == process.pid
    for name in ("key", "server.json"):
        assert stat.S_IMODE(os.stat(data / name).st_mode) == 0o600
    port = address.base_url.rpartition(":")[2].removesuffix("/v1")
    taken = subprocess.run(
        [sys.executable, "-m", "moonfs.server", "--data", str(data) + "2", "--host", "127.0.0.1", "--port", port],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (taken.returncode, taken.stderr) == (
        1,
        f"moonfs: cannot listen on 127.0.0.1 port {port}: address already in use; choose another with --host and "
        "--port\n",
    )
    with attach(data, run, places[2]) as embedded:
        assert embedded.pid == process.pid
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Warning" not in errors
    assert not (data / "server.json").exists()
    assert not os.path.exists(address.socket)


def test_a_bind_that_others_can_reach_is_warned_of(places, until):
    code = SERVE.format(host="0.0.0.0")
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, places[:2])],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert errors.startswith("Warning: 0.0.0.0 can be reached from other machines")


@pytest.mark.parametrize("what", ["a file", "read only"])
def test_an_unusable_data_directory_is_one_sentence(tmp_path, what):
    data = tmp_path / "data"
    if what == "a file":
        data.write_text("")
    else:
        data = Path("/proc/nothing")
    command = [sys.executable, "-m", "moonfs.server", "--data", str(data), "--host", "127.0.0.1"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("moonfs: cannot use the data directory")
    assert done.stderr.count("\n") == 1


def test_the_key_survives_and_is_private(launch):
    server = launch()
    key = server.key
    assert len(key) > 40
    server.stop()
    assert launch().key == key


def test_a_stale_socket_and_a_stale_address_are_replaced(places):
    data, run, log = places
    with attach(data, run, log) as first:
        path, pid = first.socket, first.pid
        os.kill(pid, signal.SIGKILL)
    while is_alive(pid):
        pass
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert read_address(data).pid == pid
    with attach(data, run, log) as second:
        assert (second.socket, second.key) == (path, first.key)
        assert second.pid != pid
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    assert log.read_bytes().count(b"Traceback") == 0


def test_clients_that_come_at_once_share_one_server(client_process):
    clients = [client_process() for _ in range(4)]
    said = {client.stdout.readline() for client in clients}
    assert len(said) == 1
    assert said.pop().split()[1].startswith("sk-local-")


def test_the_server_ends_with_its_last_client(client_process, places, until):
    one, two = client_process(), client_process()
    pid = int(one.stdout.readline().split()[0])
    assert int(two.stdout.readline().split()[0]) == pid
    one.stdin.close()
    one.wait(60)
    assert is_alive(pid)
    assert read_address(places[0]).pid == pid
    two.stdin.close()
    two.wait(60)
    until(lambda: not is_alive(pid), "the server has ended")
    assert read_address(places[0]) is None


def test_the_server_ends_when_its_client_is_killed(client_process, until):
    client = client_process()
    pid = int(client.stdout.readline().split()[0])
    client.kill()
    client.wait()
    until(lambda: not is_alive(pid), "the server has ended")


def test_who_comes_while_the_server_ends_gets_a_new_one(client_process, places):
    first = client_process()
    pid = int(first.stdout.readline().split()[0])
    first.stdin.close()
    second = client_process()
    assert is_alive(int(second.stdout.readline().split()[0]))
    assert read_address(places[0]).pid != pid or is_alive(pid)


def test_the_server_holds_no_lock_of_its_client(client_process):
    client = client_process()
    pid = int(client.stdout.readline().split()[0])
    held = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed this moment
            held.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    assert sum(path.endswith("/clients.lock") for path in held) == 1  # its own, on which it waits
    assert not any(path.endswith("/spawn.lock") for path in held)


def test_a_runtime_directory_that_is_a_link(places, monkeypatch):
    """X2: one of one's own to a directory of one's own is as good as that; else others could put a server there."""
    data, run, log = places
    own = data.with_name("own")
    own.mkdir(mode=0o700)
    run.symlink_to(own)
    with attach(data, run, log) as server:
        assert stat.S_ISSOCK((own / os.path.basename(server.socket)).stat().st_mode)
    own.chmod(0o770)
    with pytest.raises(EmbedError, match=f"{run} cannot be used"):
        attach(data, run, log)
    own.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(EmbedError, match=f"{run} cannot be used"):
        attach(data, run, log)


def test_attach_says_why_there_is_no_server(places, monkeypatch):
    data, run, log = places
    claim(data)
    (data / "files.sqlite").mkdir()
    with pytest.raises(EmbedError, match=r"did not start .*[Ii]s a directory") as failed:
        attach(data, run, log)
    assert "\n" not in str(failed.value)
    with pytest.raises(EmbedError, match="too long"):
        attach(data.parent / "other", data.parent / ("long" * 30), log)


def test_attach_says_that_the_extra_is_missing(places, tmp_path, monkeypatch):
    without = tmp_path / "without"
    without.mkdir()
    (without / "uvicorn.py").write_text("raise ModuleNotFoundError('no', name='uvicorn')")
    monkeypatch.setenv("PYTHONPATH", f"{without}:{ROOT}")
    with pytest.raises(EmbedError, match=r"needs the extra `local` \(uvicorn is missing\)"):
        attach(*places)


def test_an_idle_server_does_not_wake_up(server):
    """Nothing polls: over a second, the main thread is scheduled a handful of times at most."""
    import time

    def switches() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("voluntary_ctxt")))

    time.sleep(0.5)
    before = switches()
    time.sleep(2)
    assert switches() - before <= 3


def test_connections_are_not_delayed() -> None:
    """asyncio turns Nagle's algorithm off only where the listener names its protocol: 40 ms a kept-alive request."""
    with serve._listen_tcp("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_no_data_directory_below_the_mount_point(fuse: None, tmp_path: Path) -> None:
    """The server's files would disappear under the drive that shows them: one sentence, and nothing is started."""
    command = [sys.executable, "-m", "moonfs", "mount", str(tmp_path / "m"), "--local", str(tmp_path / "m" / "data")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert done.returncode == 1 and "elsewhere" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "m" / "data").exists()
