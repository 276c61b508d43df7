"""Ranks against one process: parameters, faults, evaluation, restarts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae import ranks

SEVERAL = Path(__file__).parents[1] / "several.py"
pytestmark = pytest.mark.timeout(6000)  # of launches on a busy machine
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def job(*words):
    """What a job of rank_jobs.py found."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SEVERAL), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def quick():
    return job("quick")


def check_exact(found):
    for count in ("2 ranks", "3 ranks"):
        assert max(found[count].values()) < 1e-12
    for plant in ("each rank counts the same", "means are of the part"):
        assert min(found[plant].values()) > 1e-3


ERROR = "OSError: [Errno 28] No space left on device"
ENDS = {
    "disk": [f"RankFailed: rank 1: {ERROR}", ERROR],
    "disk, compiled": [f"RankFailed: rank 1: {ERROR}", ERROR],
    "signal": ["SystemExit: 143"] * 2,
    "signal, compiled": ["SystemExit: 143"] * 2,
    "not finite": ["NumericsError: "] * 2,
    "exit": ["RankFailed: Expected an answer of all ranks", "exit code 17"],
    "exit, compiled": ["RankFailed: Expected an answer of all ranks", "exit code 17"],
    "interrupt": ["RankFailed: Expected an answer of all ranks", "KeyboardInterrupt: "],
    "late": ["RankFailed: Expected an answer of all ranks"] * 2,
    "not static": ["the end"] * 2,
    "not static, to be compiled": ["RankFailed: rank 1: NotStatic: ", "NotStatic: "],
    "no checkpoint": ["CheckpointError: "] * 2,
    "other data": ["RankFailed: Expected the same data and settings at all ranks"] * 2,
    "callback": [f"RankFailed: rank 1: {ERROR}", ERROR],
    "refused": ["RankRefused: rank 1: ValueError: Expected values in {0, 1}", "ValueError: "],
}


def check_faults(found):
    """All ranks end, in the right words, with the same parameters; the newest checkpoint is whole."""
    for kind, (*ended, left, _) in found.items():
        for rank, wanted in zip(ended, ENDS[kind]):
            assert (rank if isinstance(rank, str) else rank[0]).startswith(wanted), (kind, rank)
        assert len({rank[1] for rank in ended if not isinstance(rank, str)}) == 1, kind
        begun = kind not in ("no checkpoint", "other data", "refused")
        assert len(left) == 2 * begun, kind


def test_ranks_move_parameters_as_one_process(quick):
    check_exact(quick["exact"])


def test_a_fault_at_one_rank_ends_all(quick):
    check_faults(quick["faults"])


def test_who_waits_for_a_lost_rank_is_told(quick):
    dead, alive = quick["lost"]
    assert dead[0].startswith("RankFailed: ") and "(rank 1 gives no sign of life)" in dead[0]
    assert alive == "all are here"


def test_a_recorded_step_of_ranks_is_the_eager_one(quick):
    assert max(quick["compiled"].values()) < 2e-6


def test_a_rank_touches_about_its_own_part_of_a_file(quick):
    assert all(0.4 < share < 0.75 for share in quick["mapped"])


def test_evaluation_over_ranks_is_that_of_one_process(quick):
    (one,) = quick["evaluated"]["1"]
    assert all(rank == one for count in "23" for rank in quick["evaluated"][count])


def test_models_are_dealt_out_to_ranks(quick):
    one, first, second = quick["swept"]
    assert len({*one}) == 3 and first == one and second == one


@pytest.mark.slow
def test_every_estimator_and_running_state():
    check_exact(job("exact"))


@pytest.mark.slow
def test_every_fault():
    check_faults(job("faults"))


@pytest.mark.slow
def test_compiled_steps_of_ranks():
    assert max(job("compiled", "inductor", "elbo", "free bits", "average").values()) < 1e-5


@pytest.mark.slow
def test_resume_with_as_many_ranks_and_with_others():
    found = job("resumed")
    assert all(same for _, same in found.values())  # the order of the batches
    assert {*found["2 to 2"][0]} == {*found["whole"][0]}
    for name, (digests, _) in found.items():
        assert len({*digests}) == 1 and (
            name in ("whole", "2 to 2") or digests != found["whole"][0]
        )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["no", "yes"], ids=["eager", "compiled"])
def test_killed_ranks_start_anew_and_end_alike(how):
    (wanted, code, _), *trials = job("killed", "6", how)
    assert code == 0 and sum(len(said) for *_, said in trials) == 6
    assert all(trial[:2] == [wanted, 0] for trial in trials)


@pytest.mark.slow
def test_torchrun_trains_a_recipe(tmp_path):
    command = [*TORCHRUN, "2", "-m", "pyro_vae", "train", "digits", "--train.epochs", "2"]
    none = subprocess.run(command, capture_output=True, text=True)
    assert none.returncode == 1 and "Expected --out" in none.stderr
    out = tmp_path / "run"
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 2/2") == 1
    assert len(pv.runs.RunFolder(out).metrics()) == 4
    plot = [*TORCHRUN, "2", "-m", "pyro_vae", "plot", str(out)]
    assert "with several processes" in subprocess.run(plot, capture_output=True, text=True).stderr


def test_a_process_alone_is_a_group_of_one():
    with ranks.joined() as group:
        assert group.alone and group.gather(3) == [3] and group.first("a") == "a"
        assert group.in_order([1, 2], "cpu") == [1, 2] and group.seed(5) == 5
        group.refuse("SVI")
        group.part_ways()


def test_parts_of_a_batch_are_all_of_it():
    for count in (2, 3, 5):
        for size in (1, 4, 37):
            parts = [ranks.Ranks(rank, count).part(size) for rank in range(count)]
            assert [p.start for p in parts] == [
                sum(p.rows for p in parts[:i]) for i in range(count)
            ]
            assert sum(p.rows for p in parts) == size and max(p.rows for p in parts) <= -(
                -size // count
            )
            assert sum(p.share for p in parts) == pytest.approx(1)
