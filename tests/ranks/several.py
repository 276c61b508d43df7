"""Starts ranks as torchrun does, by forking one process that has imported everything.

Run as a script, so that no test process forks: `python several.py JOB [ARGUMENT ...]`, where a job is a
function of `jobs.py`. It prints one line of JSON.
"""

import json
import multiprocessing
import os
import socket
import sys
from typing import Any


def among(count: int, work: Any, *args: Any, timeout: float = 60.0) -> list[Any]:
    """What `work(rank, *args)` returns at each of `count` ranks; of an error its name and message."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def rank(number: int) -> None:
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

        try:
            with joined():
                found = work(number, *args)
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"
        results.put((number, found))
        results.close()
        results.join_thread()
        os._exit(0)

    ranks = [context.Process(target=rank, args=(i,)) for i in range(count)]
    for process in ranks:
        process.start()
    found = dict(results.get(timeout=200) for _ in ranks)
    for process in ranks:
        process.join()
    return [found[i] for i in range(count)]


if __name__ == "__main__":
    import jobs
    import torch

    torch.set_num_threads(1)
    print(json.dumps(getattr(jobs, sys.argv[1])(*sys.argv[2:])))
