"""Measurements in processes of their own, so that none finds what another has left."""

import json
import os
import subprocess


def run(command, seconds, environment=None):
    """Returns what a program prints as JSON, or in one line why it does not.

    Args:
        command: The program and its arguments.
        seconds: Longest time that it may take.
        environment: Variables beside those of this process.

    Returns:
        What its last line holds, or a dict of `failed` alone.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"after {seconds} s"}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        # Of a process that was killed, say for want of memory, no line tells it.
        last = (done.stderr.splitlines() or ["no output"])[-1]
        return {"failed": f"with status {done.returncode}: {last[:300]}"}
    return json.loads(lines[-1])
