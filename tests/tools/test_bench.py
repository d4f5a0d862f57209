"""The benchmark works, counts right and leaves nothing. How fast anything is, no test says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCALE = 0.05  # 10 files instead of 200
SVG = "{http://www.w3.org/2000/svg}"


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a benchmark; what scripts/bench would install is measured only where it is there."""
    command = [sys.executable, "-m", "scripts.benchmark", "--directory", str(tmp_path), *arguments]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def measured(tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """Return the JSON and what was printed."""
    path = tmp_path / "bench.json"
    process = start(tmp_path, "--latency", "5", "--upload-latency", "0", "--json", str(path), *arguments)
    printed, errors = process.communicate(timeout=300)
    assert process.returncode in (0, 1), errors  # 1: a target is missed, as may be on any machine
    assert left_behind(tmp_path) == []
    return json.loads(path.read_text()), printed


def left_behind(tmp_path: Path) -> list[str]:
    """Return what a benchmark in `tmp_path` has left: directories, mounts, processes."""
    directories = [path.name for path in tmp_path.iterdir() if path.suffix not in (".json", ".svg")]
    return mounts(tmp_path) + directories + processes(tmp_path)


def mounts(tmp_path: Path) -> list[str]:
    """Return the lines of the mount table for what is mounted in `tmp_path`."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {tmp_path}/" in line]


def processes(tmp_path: Path) -> list[str]:
    """Return the command lines of the processes that work for a benchmark in `tmp_path`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{tmp_path}/moonfs-bench-" in line:
            found.append(line)
    return found


def test_copying_in_is_measured_and_counted(fuse: None, tmp_path: Path) -> None:
    plot = tmp_path / "bench.svg"
    result, printed = measured(
        tmp_path,
        "copy-in",
        "--latency",
        "5,0",
        "--upload-latency",
        "10",
        "--runs",
        "1",
        "--scale",
        str(SCALE),
        "--plot",
        str(plot),
    )
    picture = ElementTree.parse(plot).getroot()
    assert {"moonfs", "openai SDK, 8 threads"} <= {text.text for text in picture.iter(f"{SVG}text")}
    far, near = result["parts"]
    assert far["options"] == {"runs": 1, "latency": 5, "upload_latency": 10, "scale": SCALE}
    assert near["options"] == {"runs": 1, "latency": 0, "upload_latency": 0, "scale": SCALE}
    assert [job["name"] for job in near["jobs"]] == ["copy-in"] and "0 ms a request" in printed
    assert {line["met"] for job in near["jobs"] for line in job["lines"] if line["against"]} == {None}
    (job,) = far["jobs"]
    assert job["name"] == "copy-in"
    assert len(job["contestants"]) >= 6
    for measures in job["contestants"].values():
        for measure in measures.values():
            assert measure["runs"] == [measure["median"]]
    lines = {(line["measure"], line["against"]): line for line in job["lines"]}
    uploads = lines["uploads", None]
    assert (uploads["value"], uploads["limit"], uploads["exactly"], uploads["met"]) == (10, 10, True, True)
    compared = lines["until cp returns", "this disk, cp + sync"]
    assert compared["limit"] == 3
    assert compared["ratio"] == pytest.approx(compared["value"] / compared["other"])
    assert compared["met"] == (compared["ratio"] <= 3)
    assert "targets are met" in printed


def test_requests_are_counted(fuse: None, tmp_path: Path) -> None:
    result, _ = measured(tmp_path, "ls", "cat", "rm", "--runs", "2", "--scale", "0.02")
    lines = {(job["name"], line["measure"]): line for job in result["parts"][0]["jobs"] for line in job["lines"]}
    assert lines["ls", "list requests, cold"]["value"] == 1
    assert lines["cat", "content requests, cold"]["value"] == 20
    assert lines["rm", "delete requests"]["value"] == 4
    runs = [measure["runs"] for job in result["parts"][0]["jobs"] for measure in job["contestants"]["moonfs"].values()]
    assert {len(values) for values in runs} == {2}


def test_an_interrupted_benchmark_leaves_nothing(fuse: None, tmp_path: Path) -> None:
    process = start(tmp_path, "copy-in", "--latency", "500", "--runs", "1")
    deadline = time.monotonic() + 60
    while not any(" - fuse.moonfs " in line for line in mounts(tmp_path)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Interrupted" in errors
    assert left_behind(tmp_path) == []


def test_the_jobs_are_listed(tmp_path: Path) -> None:
    printed, _ = start(tmp_path, "--list").communicate(timeout=300)
    assert "copy-in" in printed.splitlines()


def test_an_unknown_job_is_one_sentence_and_exit_2(tmp_path: Path) -> None:
    process = start(tmp_path, "copy-inn")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "unknown job 'copy-inn'" in errors
