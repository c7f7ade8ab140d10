"""A sweep: candidates tried on held-out training images, and ranked.

    python -m experiments.sweep FILE [--recipe NAME] [--storage URL] [--jobs N]     trains what is missing
    python -m experiments.sweep FILE --show                                         the ranking so far

FILE says what is tried and with which seeds; experiments/sweeps/example.toml is one. The test images are never loaded.

A sweep is an Optuna study. Each candidate is a trial: it reports the accuracy of each seed, and its value is their
mean. Whoever is free takes the next one, in any number of processes and machines; two that take the same at the same
moment lose time and nothing else. When a process has not been heard of for GRACE seconds, another takes up what it was
training. Finished runs are not trained again, and stopped ones resume.
"""

import contextlib
import hashlib
import itertools
import json
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from support import UserError, cli, files
from support.settings import format_value, load_config

import msgspec
import optuna
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import _heartbeat  # which Optuna itself uses in its own loop alone
from optuna.trial import TrialState
from tqdm import tqdm

import recipes
import results
from experiments import ranking, records
from trainer import identify

FOLDER = results.RUNS / "sweeps"
HEARTBEAT, GRACE = 15, 60  # seconds
PRUNE_BELOW = 0.2  # p-value, which three seeds of three that are worse than the best's fall below, and two do not
FIXED = {"name", "dataset", "holdout", "validation_images", "threads"}  # so that candidates can be compared
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
RESUME = "nothing saved is lost: run the same command to resume"

Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Scalar = bool | int | float | str


class Range(msgspec.Struct, forbid_unknown_fields=True):
    """Where Optuna looks for the value of a field."""

    low: int | float
    high: int | float
    log: bool = False


class Sweep(msgspec.Struct, forbid_unknown_fields=True, rename={"candidates": "list"}):
    """What a sweep file says, checked before anything is trained. A candidate is what it changes in the recipe; a grid
    becomes candidates; ranges have `trials` to be looked for instead."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[^/\\]+$")]  # the file's, where it gives none
    recipe: str = "default"
    seeds: Count | Annotated[list[Seed], msgspec.Meta(min_length=1)] = 3
    holdout: int = 10_000
    trials: Count | None = None
    grid: dict[str, Annotated[list[Scalar], msgspec.Meta(min_length=1)]] = {}
    candidates: list[dict[str, Scalar]] = []
    ranges: dict[str, Range] = {}

    def __post_init__(self):
        kinds = {"[grid]": self.grid, "[[list]]": self.candidates, "[ranges]": self.ranges}
        given = [kind for kind, content in kinds.items() if content]
        if len(given) != 1:
            raise UserError(f"one of {', '.join(kinds)} is needed, got {' and '.join(given) or 'none'}")
        if bool(self.ranges) != bool(self.trials):
            raise UserError("[ranges] need trials, the number of candidates; [grid] and [[list]] have theirs")
        if self.grid:
            combinations = itertools.product(*self.grid.values())
            self.candidates = [dict(zip(self.grid, values, strict=True)) for values in combinations]
        self.trials = self.trials or len(self.candidates)
        self.seeds = list(range(self.seeds)) if isinstance(self.seeds, int) else list(dict.fromkeys(self.seeds))
        ends = [{name: end} for name, limits in self.ranges.items() for end in (limits.low, limits.high)]
        for index, changes in enumerate(self.candidates or ends):
            self.changed_recipe(changes)
            if changes in self.candidates[:index]:
                raise UserError(f"{shown(changes)} is there twice")
        self.distributions()

    def changed_recipe(self, changes: dict[str, Any]) -> recipes.Recipe:
        """The recipe of a candidate. Raises UserError naming the candidate where there can be none."""
        recipe = recipes.get_recipe(self.recipe, holdout=True, validation_images=self.holdout)
        for name in FIXED & changes.keys():
            raise UserError(f"{name} must be the same for all candidates")
        try:
            return recipes.change(recipe, changes)
        except UserError as error:
            raise UserError(f"{shown(changes)}: {error}") from error

    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """{field: what Optuna may choose its value from}. Raises ValueError for a range that is none."""
        kinds, types = {int: IntDistribution, float: FloatDistribution}, recipes.Recipe.__annotations__
        choices = {
            name: kinds[types[name]](limits.low, limits.high, limits.log) for name, limits in self.ranges.items()
        }
        for name in itertools.chain.from_iterable(self.candidates):
            values = dict.fromkeys(changes[name] for changes in self.candidates if name in changes)
            choices[name] = CategoricalDistribution(list(values))
        return choices

    def names(self) -> tuple[str, str]:
        """The names of the folder of runs, and of the study. Another recipe or model makes another of both; other seeds
        or candidates another study of the same runs. Raises UserError for a model that is none."""
        recipe = self.changed_recipe({})
        models = sorted({changes.get("architecture", recipe.architecture) for changes in self.candidates or [{}]})
        no_logits = {"logits": []}  # which differ from machine to machine
        identities = [identify(model, recipe.dataset) | no_logits for model in models]
        folder = f"{self.name}-{recipe.name}-{digest(vars(recipe), identities)}"
        return folder, f"{folder}-{digest(self.seeds, self.candidates, self.ranges)}"

    def changes(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> dict[str, Any]:
        """What a trial's candidate changes in the recipe."""
        return self.candidates[trial.user_attrs["candidate"]] if self.candidates else trial.params


def read_sweep(path: Path, recipe: str | None = None) -> Sweep:
    """The sweep that a TOML or JSON file describes, of the recipe that it names or of another. Raises UserError naming
    the file, what is wrong in it and the remedy; OSError where it cannot be read."""
    content = {"name": path.stem} | load_config(path) | ({"recipe": recipe} if recipe else {})
    return files.convert(content, Sweep, path, "docs/development.md has an example")


def digest(*content: Any) -> str:
    """A short sum of plain values, for a name."""
    return hashlib.sha256(json.dumps(content, default=msgspec.structs.astuple).encode()).hexdigest()[:8]


def shown(changes: dict[str, Any]) -> str:
    """A candidate in a few words."""
    return ", ".join(f"{name}={format_value(value)}" for name, value in changes.items()) or "the recipe as it is"


@contextlib.contextmanager
def told(place: str) -> Iterator[None]:
    """Let what a database answers within this context be a UserError, and show no warning of Optuna's: some of what is
    used here is experimental."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, ImportError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        remedy = "is there such a database, is its driver installed, and does nothing else hold it?"
        raise UserError(f"{place} could not be used ({reason}): {remedy}") from error


def open_study(name: str, url: str) -> optuna.Study:
    """The study of this name in a database, made where it is missing."""
    settings = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}  # seconds, while others write
    with contextlib.suppress(sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
        optuna.storages.RDBStorage(url, settings)  # fails where another machine is making the tables at this moment
    return optuna.create_study(
        storage=optuna.storages.RDBStorage(url, settings, heartbeat_interval=HEARTBEAT, grace_period=GRACE),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(constant_liar=True),  # of several processes, none looks where another is
        pruner=optuna.pruners.WilcoxonPruner(p_threshold=PRUNE_BELOW),
    )


def next_trial(study: optuna.Study, sweep: Sweep, first: int) -> optuna.Trial | None:
    """The trial of the next candidate, which begins with this; None where none is left for this process. A candidate
    that failed is tried again, unless it failed in one of the trials from `first` on."""
    trials = study.get_trials()
    taken = {
        trial.user_attrs.get("candidate")
        for trial in trials
        if trial.state in (*DONE, TrialState.RUNNING) or (trial.number >= first and "failed" in trial.user_attrs)
    }
    for candidate in sorted(set(range(sweep.trials)) - taken):
        attributes, distributions = {"candidate": candidate}, sweep.distributions()
        stopped = [trial.params for trial in trials if trial.user_attrs == attributes]
        params = sweep.candidates[candidate] if sweep.candidates else (stopped or [{}])[-1]
        study.enqueue_trial(params, attributes)
        return study.ask({name: distributions[name] for name in sweep.ranges or params})
    return None


def work(study: optuna.Study, sweep: Sweep, place: dict[str, Any]) -> None:
    """Train, in a place as `train_all` takes it, until no candidate is left, not even in the hands of another process,
    which may be killed."""
    first, watched = len(study.get_trials()), set()
    while True:
        with files.lock(FOLDER, wait=True):  # in turns: from an SQLite file two processes could take the same trial
            optuna.storages.fail_stale_trials(study)
            trial = next_trial(study, sweep, first)
        if trial:
            train(trial, sweep, place)
            continue
        running = {trial._trial_id for trial in study.get_trials(states=(TrialState.RUNNING,))}
        if not running:
            return
        for trial_id in running - watched:
            tqdm.write("waiting for a candidate that another process is training")
            # Optuna never gives up a trial without a heartbeat, as of a process that was killed before its first.
            study._storage.record_heartbeat(trial_id)
        watched |= running
        time.sleep(HEARTBEAT / 5)


def train(trial: optuna.Trial, sweep: Sweep, place: dict[str, Any]) -> None:
    """Train a trial's candidate with one seed after the other, as long as it may be the best, and tell the study."""
    changes, accuracies, state = sweep.changes(trial), [], TrialState.FAIL
    try:
        runs = records.train_all([(sweep.changed_recipe(changes), seed) for seed in sweep.seeds], **place)
        # Closing the runs stops the seeds that are under way.
        with _heartbeat.get_heartbeat_thread(trial._trial_id, trial.storage), contextlib.closing(runs):
            while len(accuracies) < len(sweep.seeds) and not trial.should_prune():
                run = next(runs)
                accuracies.append(run["final_validation_accuracy"])
                trial.report(accuracies[-1], sweep.seeds.index(run["seed"]))
        state = TrialState.COMPLETE if len(accuracies) == len(sweep.seeds) else TrialState.PRUNED
        tqdm.write(f"{shown(changes)}: mean {statistics.mean(accuracies):.2f} % over {len(accuracies)} seeds")
    except UserError as error:
        trial.set_user_attr("failed", str(error))
        tqdm.write(f"{shown(changes)}: {error}")
    finally:
        mean = statistics.mean(accuracies) if state == TrialState.COMPLETE else None
        trial.study.tell(trial, mean, state, skip_if_finished=True)


def report(study: optuna.Study, sweep: Sweep) -> str:
    """The ranking of what is done so far, what failed, and how many are missing. Raises UserError when nothing is
    done."""
    ended = [trial for trial in study.get_trials() if trial.state in DONE or "failed" in trial.user_attrs]
    ended.sort(key=lambda trial: trial.state in DONE)  # what failed may have been tried again
    done, failures = [], []
    for trial in {trial.user_attrs["candidate"]: trial for trial in ended}.values():
        name = shown(sweep.changes(trial))
        if trial.state in DONE:
            accuracies = {sweep.seeds[step]: accuracy for step, accuracy in trial.intermediate_values.items()}
            done.append(ranking.Candidate(name, accuracies, is_pruned=trial.state == TrialState.PRUNED))
        else:
            failures.append(f"failed: {name}: {trial.user_attrs['failed']}")
    if not done:
        raise UserError("; ".join([f"no candidate of study {study.study_name} is done yet", *failures[:1]]))
    missing = sweep.trials - len(done) - len(failures)  # below 0 where the file asks for fewer by now
    return "\n".join([ranking.report(done), *failures, *[f"not done yet: {missing}"] * (missing > 0)])


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("file", type="path", help="TOML or JSON (make: FILE=)")
    parser.add_argument("--recipe", choices=recipes.RECIPES, metavar="NAME", help="instead of the file's")
    parser.add_argument("--storage", help="URL of a database (default: an SQLite file in results/sweeps)")
    parser.add_argument("--show", action="store_true", help="rank what is done, and train nothing")
    parser.add_argument("--jobs", type=records.count, help="seeds at a time (default: as many as fill the cores)")
    parser.add_data()
    parser.add_device()
    arguments = parser.parse_args(argv)
    try:
        sweep = read_sweep(arguments.file, arguments.recipe)
        folder, name = sweep.names()
    except (UserError, OSError) as error:
        parser.error(str(error))
    url = arguments.storage or f"sqlite:///{FOLDER / sweep.name}.db"
    try:
        place = sqlalchemy.make_url(url).render_as_string()  # without its password
    except (sqlalchemy.exc.ArgumentError, ValueError):
        parser.error("--storage must be a database's URL, such as sqlite:///sweep.db or postgresql://user@host/name")
    shares = records.place(arguments, sweep.changed_recipe({}).threads) | {"folder": FOLDER / folder}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with told(place):
        with files.lock(FOLDER, wait=True):
            study = open_study(name, url)
        if not arguments.show:
            print(f"study {name} in {place}: {sweep.trials} candidates, {len(sweep.seeds)} seeds each", flush=True)
            work(study, sweep, shares)
        print(report(study, sweep))


if __name__ == "__main__":
    cli.run(main, RESUME)
