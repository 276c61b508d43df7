"""Starts ranks as torchrun does, by forking one process that has imported everything.

Run as a script, so that no test process forks: `python several.py JOB [ARGUMENT ...]`, where a job is a
function of `rank_jobs.py`. It prints one line of JSON.
"""

import json
import multiprocessing
import os
import socket
import sys
from typing import Any

import torch


def among(count: int, work: Any, *args: Any, timeout: float = 300.0) -> list[Any]:
    """What `work(rank, *args)` returns at each of `count` ranks; of an error its name and message."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")

    def rank(number: int, answer: Any) -> None:
        os.environ.update(
            RANK=str(number),
            LOCAL_RANK=str(number),
            WORLD_SIZE=str(count),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            TORCHELASTIC_RUN_ID="test",
            TORCHELASTIC_RESTART_COUNT="0",
            PYRO_VAE_RANK_TIMEOUT=str(timeout),
        )
        from pyro_vae.ranks import joined

        torch.set_num_threads(1)
        try:
            with joined():
                found = work(number, *args)
        except BaseException as error:
            found = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]
        answer.send(found)
        answer.close()
        sys.stdout.flush()
        os._exit(0)

    processes, answers = [], []
    for i in range(count):
        ours, theirs = context.Pipe(duplex=False)
        processes.append(context.Process(target=rank, args=(i, theirs)))
        processes[-1].start()
        theirs.close()
        answers.append(ours)
    found = []
    for process, answer in zip(processes, answers):
        try:
            found.append(answer.recv())
        except EOFError:
            process.join()
            found.append(f"exit code {process.exitcode}")
    for process in processes:
        process.join()
    return found


if __name__ == "__main__":
    import rank_jobs

    torch.set_num_threads(1)
    print(json.dumps(getattr(rank_jobs, sys.argv[1])(*sys.argv[2:])))
