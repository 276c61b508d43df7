r"""A search in a storage of Optuna, which several processes share.

Every try at a trial is a row of the storage, whose numbers are consecutive and unique. A process
makes a row, waits until all earlier rows have decided what they are, and then decides for its own:
it takes up a trial that another process left, or begins a new one, or finds that there are enough.
So decisions follow one another, and no trial is counted or trained twice. While it works, a
process changes its row every few seconds; a row that stays the same has been left.
"""

import contextlib
import json
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ..config import Range, Space
from ..runs.records import differences

BEAT = 5.0
r"""Seconds between signs of life."""
GRACE = 60.0
r"""Seconds without one after which a trial has been left by its process."""
POLL = 0.2
r"""Seconds between looks at what other processes do."""
TRIES = 10  # two processes that make the tables of one file at once are in each other's way


class Outcome(NamedTuple):
    r"""What became of a trial.

    Attributes:
        value: Its objective, if it has one.
        error: Why it has none.
        record: What else is kept, as JSON values.
    """

    value: float | None
    error: str | None
    record: dict[str, Any]


Carry = Callable[[int, dict[str, Any]], Outcome]
r"""Carries out a trial, of a number and values."""


def import_optuna() -> Any:
    r"""Imports Optuna.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ValueError(
            "Expected optuna, which the extra `tune` installs: pip install 'pyro_vae[tune]'."
        ) from None
    return optuna


def open_study(storage: str | None, name: str) -> Any:
    r"""Opens a search, which is to be maximized, or begins it.

    Arguments:
        storage: A URL such as ``sqlite:///study.db``; by default memory.
        name: The name of the search in the storage.

    Raises:
        ValueError: The storage cannot be opened.
    """
    optuna = import_optuna()
    if storage is None:
        return optuna.create_study(direction="maximize", study_name=name)
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    patient = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
    failure: Exception | None = None
    for _ in range(TRIES):
        try:
            place = optuna.storages.RDBStorage(storage, engine_kwargs=patient)
            return optuna.create_study(
                study_name=name, storage=place, direction="maximize", load_if_exists=True
            )
        except (ImportError, ArgumentError) as error:
            failure = error
            break
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            failure = error
            time.sleep(POLL)
    why = str(failure).splitlines()[0]
    raise ValueError(
        f"Expected a storage such as sqlite:///study.db, in a folder that is there; got "
        f"{storage} ({why})."
    )


class Search:
    r"""Creates a search, which goes on where it was if the storage has it already.

    Arguments:
        storage: The URL of the storage; by default memory.
        name: The name of the search.
        space: What is searched.
        total: How many trials there are, of all processes together.
        sampler: ``"tpe"`` or ``"random"``.
        seed: Seeds the sampler: what it draws for a trial depends on this and the trial's number.
        declared: What the search is about, which must be the same whenever it goes on.

    Raises:
        ValueError: The storage cannot be opened, or has a different search of this name.
    """

    def __init__(
        self,
        storage: str | None,
        name: str,
        space: Space,
        total: int,
        sampler: str,
        seed: int,
        declared: Mapping[str, Any],
    ) -> None:
        self.optuna = import_optuna()
        self.space, self.total, self.sampler, self.seed = space, total, sampler, seed
        self.seen: dict[int, tuple[Any, float]] = {}
        with self.quiet():
            self.study = open_study(storage, name)
        self.states = self.optuna.trial.TrialState
        known = self.study.user_attrs.get("declared")
        if known is None:
            self.study.set_user_attr("declared", dict(declared))
        elif changed := differences(known, json.loads(json.dumps(declared))):
            raise ValueError(
                f"Expected the search that {storage} holds; got a different one: "
                f"{'; '.join(changed)}. Use another storage or another folder."
            )

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        r"""Keeps Optuna's log and its warnings of interfaces that are new to itself."""
        log = self.optuna.logging
        before = log.get_verbosity()
        log.set_verbosity(log.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", self.optuna.exceptions.ExperimentalWarning)
                yield
        finally:
            log.set_verbosity(before)

    # --- Trials ---------------------------------------------------------------------------------

    def rows(self) -> list[Any]:
        return self.study.get_trials(deepcopy=False)

    def standing(self, rows: list[Any]) -> dict[int, Any]:
        r"""The trials that are complete, have failed or are under way, by their numbers."""
        order = [self.states.COMPLETE, self.states.FAIL, self.states.RUNNING]
        found: dict[int, Any] = {}
        for row in rows:
            left = row.state == self.states.FAIL and "error" not in row.user_attrs
            if "trial" in row.user_attrs and row.state in order and not left:
                number = row.user_attrs["trial"]
                known = found.get(number, row)
                found[number] = min(known, row, key=lambda one: order.index(one.state))
        return dict(sorted(found.items()))

    def finished(self) -> dict[int, Any]:
        r"""The trials that are complete or have failed, by their numbers."""
        rows = self.standing(self.rows())
        return {n: row for n, row in rows.items() if row.state.is_finished()}

    def work(self, carry_out: Carry) -> None:
        r"""Carries out trials until there are enough, and waits for those of other processes."""
        said = False
        while True:
            self.watch()
            standing = self.standing(self.rows())
            if len(standing) < self.total:
                self.attempt(carry_out)
                continue
            open_ = [n for n, row in standing.items() if not row.state.is_finished()]
            if not open_:
                return
            if not said:
                names = ", ".join(map(str, open_))
                print(f"Waiting for other processes: trial {names}.", file=sys.stderr)
                said = True
            time.sleep(POLL)

    def attempt(self, carry_out: Carry) -> None:
        r"""Carries out one trial, unless there turn out to be enough."""
        fail = self.states.FAIL
        with self.quiet():
            self.study.sampler = self.optuna.samplers.RandomSampler()
            trial = self.study.ask()
        with self.alive(trial):
            try:
                number = self.decide(trial)
                if number is None:
                    self.study.tell(trial, state=fail, skip_if_finished=True)
                    return
                outcome = carry_out(number, self.suggest(trial, number))
            except BaseException:  # the trial is left, and somebody takes it up
                with self.quiet(), contextlib.suppress(Exception):
                    self.study.tell(trial, state=fail, skip_if_finished=True)
                raise
            try:
                trial.set_user_attr("record", outcome.record)
                if outcome.error is not None:
                    trial.set_user_attr("error", outcome.error)
            except self.optuna.exceptions.UpdateFinishedTrialError:
                return  # taken for left, and now another's
            with self.quiet():
                state = None if outcome.error is None else fail
                self.study.tell(trial, outcome.value, state, skip_if_finished=True)

    def decide(self, trial: Any) -> int | None:
        r"""The number of the trial that a row is about; None if there are enough."""
        while True:
            earlier = [row for row in self.rows() if row.number < trial.number]
            running = [row for row in earlier if row.state == self.states.RUNNING]
            if all("trial" in row.user_attrs for row in running):
                break
            self.watch()
            time.sleep(POLL / 10)
        standing = self.standing(earlier)
        if len(standing) >= self.total:
            return None
        begun = {row.user_attrs["trial"] for row in earlier if "trial" in row.user_attrs}
        left = begun - {*standing}
        number = min(left, default=len(begun))  # numbers have no gaps
        try:
            trial.set_user_attr("trial", number)
        except self.optuna.exceptions.UpdateFinishedTrialError:
            return None
        if left:
            print(f"Trial {number} was left, and goes on.", file=sys.stderr)
        return number

    # --- Values ---------------------------------------------------------------------------------

    def suggest(self, trial: Any, number: int) -> dict[str, Any]:
        r"""The values of a trial; one that is taken up has those that it had."""
        fixed: dict[str, Any] = {}
        for row in self.rows():
            if row.user_attrs.get("trial") == number and row.number < trial.number:
                fixed |= row.params
        samplers = self.optuna.samplers
        with self.quiet():
            seed = (1_000_003 * self.seed + number) % 2**32
            if self.sampler == "tpe":
                chosen = samplers.TPESampler(seed=seed, constant_liar=True)
            else:
                chosen = samplers.RandomSampler(seed=seed)
            if fixed:
                chosen = samplers.PartialFixedSampler(fixed, chosen)
            self.study.sampler = chosen
            trial = self.optuna.trial.Trial(self.study, trial._trial_id)
            return {key: _drawn(trial, key, part) for key, part in self.space.items()}

    # --- Signs of life --------------------------------------------------------------------------

    @contextlib.contextmanager
    def alive(self, trial: Any) -> Iterator[None]:
        r"""Gives signs of life for a trial."""
        done = threading.Event()

        def beat() -> None:
            count = 0
            while not done.wait(BEAT):
                count += 1
                try:
                    trial.set_user_attr("beat", count)
                except self.optuna.exceptions.UpdateFinishedTrialError:
                    return
                except Exception:  # the storage is busy: the next one will do
                    continue

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def watch(self) -> None:
        r"""Marks the trials that their processes have left."""
        now = time.monotonic()
        for row in self.rows():
            if row.state != self.states.RUNNING:
                continue
            sign = (row.user_attrs.get("trial"), row.user_attrs.get("beat"))
            before, since = self.seen.setdefault(row.number, (sign, now))
            if before != sign:
                self.seen[row.number] = (sign, now)
            elif now - since > GRACE:
                with self.quiet():
                    self.study.tell(row.number, state=self.states.FAIL, skip_if_finished=True)


def _drawn(trial: Any, key: str, part: Range | list[Any]) -> Any:
    r"""The value of a setting in a trial."""
    if isinstance(part, Range):
        suggest = trial.suggest_int if part.is_whole else trial.suggest_float
        return suggest(key, part.low, part.high, log=part.log)
    plain = (bool, int, float, str, type(None))
    labels = [v if isinstance(v, plain) else json.dumps(v) for v in part]
    return part[labels.index(trial.suggest_categorical(key, labels))]
