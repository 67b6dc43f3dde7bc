"""Train on two workers, here both on this machine.

    python examples/two_workers.py

On two machines, start the command at the end on each of them, with the addresses of
both in TF_CONFIG, the index of each, and a folder that both can reach.
"""

import json
import os
import socket
import subprocess
import sys

COMMAND = ["finetune", "--strategy=multi_worker", "--recipe=light", "--seed=0"]


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def main(*flags):
    addresses = [free_address(), free_address()]
    workers = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": addresses}, "task": task}
        workers.append(
            subprocess.Popen(
                [sys.executable, "-m", "bit_keras", *COMMAND, *flags],
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
            )
        )
    return [worker.wait() for worker in workers]


if __name__ == "__main__":
    sys.exit(max(main(*sys.argv[1:])))
