"""The study: a sweep as an Optuna study, in a database that several processes, on several machines, work on together.

A trial is a candidate; it reports the accuracy of each seed, and its value is their mean. Every candidate is in the
database before any is trained, and whoever is free takes the next. What a killed process was at work on is taken up by
another once its heartbeat has stopped for GRACE seconds; finished runs are not trained again, and stopped ones resume.
"""

import contextlib
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import UserError, files

import optuna
import sqlalchemy
from optuna.trial import TrialState
from tqdm import tqdm

import recipes
from experiments import ranking, records
from experiments.candidates import Sweep, describe

HEARTBEAT, GRACE = 15, 60  # seconds
PRUNE_BELOW = 0.2  # p-value, which three seeds of three that are worse than the best's fall below, and two do not
BUSY = 60  # seconds that one process waits for another to have written to an SQLite file
DRIVERLESS = "is there such a database, is its driver installed, and does nothing else hold it?"

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats, WilcoxonPruner
optuna.logging.set_verbosity(optuna.logging.ERROR)
retry = optuna.storages.RetryHeartbeatStaleTrialCallback()


class Superfluous(Exception):
    """A trial of a candidate that another process has put into the study too."""


def sqlite_url(path: Path) -> str:
    """The database that a sweep has by default."""
    return f"sqlite:///{path}"


def hide_password(url: str) -> str:
    """A database's URL as it may be shown. Raises UserError for what is none."""
    try:
        return sqlalchemy.make_url(url).render_as_string()
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise UserError(
            f"a database's URL is such as sqlite:///sweep.db or postgresql://user@host/name: {error}"
        ) from error


def begin_immediately(engine: sqlalchemy.Engine) -> None:
    """Let every transaction of an SQLite file lock it from its start. Optuna reads that a trial is free and then takes
    it, which relies on SELECT … FOR UPDATE; SQLite has none, and two processes would take the same."""

    @sqlalchemy.event.listens_for(engine, "connect")
    def leave_transactions_alone(connection: Any, _) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before


@contextlib.contextmanager
def told(url: str) -> Iterator[None]:
    """Let what a database answers within this context be a UserError."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"{hide_password(url)} could not be used ({reason}): {DRIVERLESS}") from error


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """A database by its URL, with its tables, which are made where they are missing."""
    try:
        return connect(url)
    except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):  # another process was making them
        time.sleep(1)
        return connect(url)


def connect(url: str) -> optuna.storages.RDBStorage:
    """A database by its URL, as `open_storage`, where no other process opens it for the first time too."""
    is_sqlite = url.startswith("sqlite")
    storage = optuna.storages.RDBStorage(
        url,
        {"connect_args": {"timeout": BUSY}} if is_sqlite else {},
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=retry,
    )
    if is_sqlite:
        begin_immediately(storage.engine)
    return storage


def open_study(sweep: Sweep, name: str, url: str, folder: Path) -> optuna.Study:
    """The study of a sweep, with every candidate in it that is neither done nor under way. Processes that share the
    folder do this one after the other."""
    with files.lock(folder, wait=True):
        study = optuna.create_study(
            storage=open_storage(url),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(constant_liar=True),  # of several processes, none looks where another is
            pruner=optuna.pruners.WilcoxonPruner(p_threshold=PRUNE_BELOW),
        )
        study.set_metric_names(["accuracy %"])
        for index in range(sweep.trials):
            earlier = [trial for trial in study.get_trials() if trial.user_attrs.get("candidate") == index]
            if all(trial.state == TrialState.FAIL for trial in earlier):
                picked = next((trial.params for trial in reversed(earlier) if trial.params), {})  # and not finished
                params = sweep.candidates[index] if sweep.candidates else picked
                study.enqueue_trial(params, user_attrs={"candidate": index})
    return study


def load_study(name: str, url: str) -> optuna.Study:
    """A study that is there. Raises UserError where it is not."""
    missing = UserError(
        f"there is no study {name} in {hide_password(url)} yet: run the same command without --show (make: SHOW=1)"
    )
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise missing
    try:
        return optuna.load_study(study_name=name, storage=open_storage(url))
    except KeyError as error:
        raise missing from error


class Worker:
    """One process at work on a study: it trains candidate after candidate, `jobs` seeds at a time."""

    def __init__(self, study: optuna.Study, sweep: Sweep, folder: Path, jobs: int, threads: int, flags: list[str]):
        self.study, self.sweep, self.folder = study, sweep, folder
        self.jobs, self.threads, self.flags = jobs, threads, flags
        self.number = None  # of the trial that is under way

    def work(self) -> None:
        """Train until no candidate is left, not even in the hands of another process, which may be killed."""
        told_of = 0
        while True:
            optuna.storages.fail_stale_trials(self.study)
            if self.count(TrialState.WAITING):
                self.train_next()
                continue
            running = self.count(TrialState.RUNNING)
            if not running:
                return
            if running != told_of:
                tqdm.write(f"waiting for {running} candidate{'s' * (running > 1)} that other processes are training")
            told_of = running
            time.sleep(1)

    def count(self, state: TrialState) -> int:
        return len(self.study.get_trials(deepcopy=False, states=(state,)))

    def train_next(self) -> None:
        """Train the next candidate. When this process is stopped meanwhile, the candidate goes back into the queue."""
        self.number = None
        try:
            self.study.optimize(self.train, n_trials=1, catch=(UserError, Superfluous))
        except KeyboardInterrupt:
            if self.number is not None:
                retry(self.study, self.study.trials[self.number])
            raise

    def train(self, trial: optuna.Trial) -> float:
        """The mean accuracy, in percent, that a candidate reaches on the held-out images."""
        self.number = trial.number
        self.check_only(trial)
        changes = self.suggest(trial)
        try:
            recipe = recipes.change(self.sweep.recipe, changes)
            accuracies = self.train_seeds(trial, recipe)
        except UserError as error:
            trial.set_user_attr("failed", str(error))
            tqdm.write(f"{describe(changes)}: {error}")
            raise
        tqdm.write(f"{describe(changes)}: mean {statistics.mean(accuracies):.2f} % over {len(accuracies)} seeds")
        if len(accuracies) < len(self.sweep.seeds):
            raise optuna.TrialPruned
        return statistics.mean(accuracies)

    def check_only(self, trial: optuna.Trial) -> None:
        """Raise Superfluous unless a trial is the first of its candidate, or the first after others have failed. Two
        processes that start at once may both have put it into the queue; or this one found the queue just emptied."""
        candidate = trial.user_attrs.get("candidate")
        others = self.study.get_trials(deepcopy=False)[: trial.number]
        taken = {other.user_attrs.get("candidate") for other in others if other.state != TrialState.FAIL}
        if candidate is None or candidate in taken:
            raise Superfluous

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """The changes that a candidate makes to the recipe: its own, or what Optuna looks for next in the ranges."""
        if self.sweep.candidates:
            changes = self.sweep.candidates[trial.user_attrs["candidate"]]
            return {name: trial.suggest_categorical(name, self.sweep.values(name)) for name in changes}
        kinds = {field.name: field.type for field in recipes.FIELDS}
        return {
            name: (trial.suggest_int if kinds[name] is int else trial.suggest_float)(
                name, limits.low, limits.high, log=limits.log
            )
            for name, limits in self.sweep.ranges.items()
        }

    def train_seeds(self, trial: optuna.Trial, recipe: recipes.Recipe) -> list[float]:
        """The accuracies of a candidate, seed by seed, up to the one at which it is given up."""
        seeds, accuracies = self.sweep.seeds, []
        trainings = [(recipe, seed) for seed in seeds]
        runs = records.train_all(trainings, self.jobs, self.threads, self.flags, self.folder)
        with contextlib.closing(runs):  # stops the seeds that are under way
            for run in runs:
                accuracies.append(run["final_validation_accuracy"])
                trial.report(accuracies[-1], seeds.index(run["seed"]))
                if len(accuracies) < len(seeds) and trial.should_prune():
                    break
        return accuracies


def ranked(study: optuna.Study, sweep: Sweep) -> list[ranking.Candidate]:
    """What the ranking ranks: the candidates that are done, or were given up."""
    return [
        ranking.Candidate(
            describe(trial.params),
            {sweep.seeds[step]: accuracy for step, accuracy in trial.intermediate_values.items()},
            is_pruned=trial.state == TrialState.PRUNED,
        )
        for trial in study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    ]


def failures(study: optuna.Study) -> dict[str, str]:
    """{candidate: why} of those whose training failed."""
    found = {}
    for trial in study.get_trials(deepcopy=False):
        candidate = trial.user_attrs.get("candidate")
        if trial.state == TrialState.FAIL and "failed" in trial.user_attrs:
            found[candidate] = describe(trial.params), trial.user_attrs["failed"]
        elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            found.pop(candidate, None)  # it was tried again
    return dict(found.values())
