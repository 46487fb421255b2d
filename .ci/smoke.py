#!/usr/bin/env python3
"""The README's first command: waits for `ready`, executes the printed curl lines, stops it with SIGTERM."""

import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

COMMAND = ["cargo", "run", "--release", "--quiet", "--", "run", "--sandbox"]
READY_SECONDS = 120
STOP_SECONDS = 5


def lines_until(lines, done, seconds):
    """Lines of standard output until `done` says that all are there."""
    seen, deadline = [], time.monotonic() + seconds
    while not done(seen):
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            sys.exit(f"after {seconds} s there was only: {seen}")
        if line is None:
            sys.exit(f"the program ended after: {seen}")
        print(line, flush=True)
        seen.append(line)
    return seen


def expect(seen, start):
    if not any(line.startswith(start) for line in seen):
        sys.exit(f"no line begins with {start!r}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, WAZAP_DATA=os.path.join(folder, "data"), WAZAP_LISTEN="127.0.0.1:0")
        # A group of its own, so that the signal reaches the program and not only cargo.
        program = subprocess.Popen(COMMAND, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            converse(program)
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)


def converse(program):
    lines = queue.Queue()

    def read():
        for line in program.stdout:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    curls = lambda seen: [line for line in seen if line.startswith("curl ")]
    seen = lines_until(lines, lambda seen: "ready" in seen and len(curls(seen)) == 3, READY_SECONDS)
    for start in ["token sk_", "listening on http://", "sandbox on wss://", "echo contact ", "paired as "]:
        expect(seen, start)

    answers = []
    for line in curls(seen):
        answer = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=30, check=True).stdout
        print(answer, flush=True)
        answers.append(json.loads(answer))
    status, sent, events = answers
    assert status["status"] == "connected", status
    assert sent["success"] and sent["message_id"].startswith("3EB0"), sent
    assert any(event["data"]["content"] == "Hello" for event in events["events"]), events

    started = time.monotonic()
    os.killpg(program.pid, signal.SIGTERM)
    code = program.wait(timeout=30)
    took = time.monotonic() - started
    assert code == 0, f"exit code {code}"
    assert took < STOP_SECONDS + 1, f"it took {took:.1f} s to stop"
    print(f"stopped in {took:.1f} s with exit code 0")


main()
