"""A sweep: candidates tried on held-out training images, and ranked.

    python -m experiments.sweep FILE [--recipe NAME] [--storage URL] [--jobs N]     trains what is missing
    python -m experiments.sweep FILE --show                                         the ranking so far

FILE says what is tried and with which seeds; experiments/sweeps/example.toml is one. The test images are never loaded.

A sweep is an Optuna study, each candidate a trial: it reports the accuracy of each seed, and its value is their mean.
Whoever is free takes the next one, in any number of processes and machines; two that take the same at the same moment
lose time and nothing else. When a process has not been heard of for GRACE seconds, another takes up what it was
training. Finished runs are not trained again, and stopped ones resume. Runs with the same seed hold out the same
images, so candidates are compared seed by seed: Student's paired t-test, corrected for their number (Holm 1979).
"""

import contextlib
import hashlib
import itertools
import json
import statistics
import time
import warnings
from typing import Annotated, Any

from support import UserError, cli, files, intervals
from support.settings import format_value, load_config
from support.table import terminal_table

import msgspec
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import _heartbeat  # which Optuna itself uses in its own loop alone
from optuna.trial import FrozenTrial, TrialState
from scipy import stats
from tqdm import tqdm

import recipes
import results
from experiments import records
from trainer import identify

FOLDER = results.RUNS / "sweeps"
HEARTBEAT, GRACE = 15, 60  # seconds
PRUNE_BELOW = 0.2  # p-value, which three seeds of three that are worse than the best's fall below, and two do not
FIXED = {"name", "dataset", "holdout", "validation_images", "threads"}  # so that candidates can be compared
STATES = (TrialState.FAIL, TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE)  # the last one counts
SIGNIFICANT = 0.05
HEAD = ["candidate", "seeds", "accuracy %", "95 % interval", "minus the best", "95 % interval", "p (Holm)", "verdict"]
BASE = "fields of the recipe"  # at the top of the file
RESUME = "nothing saved is lost: run the same command to resume"

Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Scalar = bool | int | float | str


class Range(msgspec.Struct, forbid_unknown_fields=True):
    """Where Optuna looks for the value of a field: anywhere, or at multiples of a step above the lowest."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None


class Sweep(msgspec.Struct, forbid_unknown_fields=True, rename={"candidates": "list", "base": BASE}):
    """What a sweep file says, checked before anything is trained. A candidate is what it changes in the recipe; a grid
    becomes candidates; ranges have `trials` to be looked for instead."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[^/\\]+$")]  # the file's, where it gives none
    recipe: str = "default"
    seeds: Count | Annotated[list[Seed], msgspec.Meta(min_length=1)] = 3
    holdout: int = 10_000
    trials: Count | None = None
    grid: dict[str, Annotated[list[Scalar], msgspec.Meta(min_length=1)]] = {}
    candidates: list[dict[str, Scalar]] = []
    ranges: dict[str, Range | Annotated[list[Scalar], msgspec.Meta(min_length=1)]] = {}  # a list: one of these
    base: dict[str, Scalar] = {}  # what all candidates change

    def __post_init__(self):
        kinds = {"[grid]": self.grid, "[[list]]": self.candidates, "[ranges]": self.ranges}
        given = [kind for kind, content in kinds.items() if content]
        if len(given) != 1:
            raise UserError(f"one of {', '.join(kinds)} is needed, got {' and '.join(given) or 'none'}")
        if bool(self.ranges) != bool(self.trials):
            raise UserError("[ranges] need trials, the number of candidates; [grid] and [[list]] have theirs")
        combinations = itertools.product(*self.grid.values()) if self.grid else []
        self.candidates += [dict(zip(self.grid, values, strict=True)) for values in combinations]
        self.trials = self.trials or len(self.candidates)
        self.seeds = list(range(self.seeds)) if isinstance(self.seeds, int) else list(dict.fromkeys(self.seeds))
        ends = [
            {name: end}
            for name, limits in self.ranges.items()
            for end in (limits if isinstance(limits, list) else (limits.low, limits.high))
        ]
        for index, changes in enumerate(self.candidates or ends):
            self.changed_recipe(changes)
            if changes in self.candidates[:index]:
                raise UserError(f"{shown(changes)} is there twice")
        for name in self.ranges:
            self.distribution(name)

    def changed_recipe(self, changes: dict[str, Any]) -> recipes.Recipe:
        """The recipe of a candidate. Raises UserError naming the candidate where there can be none."""
        recipe = recipes.get_recipe(self.recipe, **self.base, holdout=True, validation_images=self.holdout)
        for name in FIXED & changes.keys():
            raise UserError(f"{name} must be the same for all candidates")
        try:
            return recipes.change(recipe, changes)
        except UserError as error:
            raise UserError(f"{shown(changes)}: {error}") from error

    def distribution(self, name: str) -> BaseDistribution:
        """What Optuna may choose the value of a field from. Raises UserError for a range that is none."""
        limits = self.ranges.get(name, [changes[name] for changes in self.candidates if name in changes])
        if isinstance(limits, list):
            return CategoricalDistribution(list(dict.fromkeys(limits)))
        try:
            bounds, step = (limits.low, limits.high, limits.log), limits.step
            is_whole = recipes.Recipe.__annotations__[name] is int
            return IntDistribution(*bounds, step or 1) if is_whole else FloatDistribution(*bounds, step)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error

    def names(self) -> tuple[str, str]:
        """The names of the folder of runs, and of the study. Another recipe or model makes another of both; other seeds
        or candidates another study of the same runs. Raises UserError for a model that is none."""
        recipe, no_logits = self.changed_recipe({}), {"logits": []}  # which differ from machine to machine
        models = sorted({self.changed_recipe(changes).architecture for changes in self.candidates or [{}]})
        identities = [identify(model, recipe.dataset) | no_logits for model in models]
        folder = f"{self.name}-{recipe.name}-{digest(vars(recipe), identities)}"
        return folder, f"{folder}-{digest(self.seeds, self.candidates, self.ranges)}"


def digest(*content: Any) -> str:
    """A short sum of plain values, for a name."""
    return hashlib.sha256(json.dumps(content, default=msgspec.structs.astuple).encode()).hexdigest()[:8]


def shown(changes: dict[str, Any]) -> str:
    """A candidate in a few words."""
    return ", ".join(f"{name}={format_value(value)}" for name, value in changes.items()) or "the recipe as it is"


def open_study(name: str, url: str) -> optuna.Study:
    """The study of this name in a database, made where it is missing."""
    engine = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}  # seconds, while others write
    with contextlib.suppress(sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
        optuna.storages.RDBStorage(url, engine)  # fails where another machine is making the tables at this moment
    store = optuna.storages.RDBStorage(url, engine, heartbeat_interval=HEARTBEAT, grace_period=GRACE)
    pruner = optuna.pruners.WilcoxonPruner(p_threshold=PRUNE_BELOW)
    return optuna.create_study(storage=store, pruner=pruner, study_name=name, direction="maximize", load_if_exists=True)


def latest(study: optuna.Study) -> dict[int, FrozenTrial]:
    """{candidate: the trial that says how far it is}."""
    trials = sorted(study.get_trials(states=STATES), key=lambda trial: STATES.index(trial.state))
    return {trial.user_attrs.get("candidate"): trial for trial in trials}


def next_trial(study: optuna.Study, sweep: Sweep, first: int) -> optuna.Trial | None:
    """The trial of the next candidate, which begins with this; None where none is left for this process. A candidate
    that failed is tried again, unless it failed in one of the trials from `first` on."""
    known = latest(study)
    for candidate in range(sweep.trials):
        last = known.get(candidate)
        is_new = last is None or "failed" in last.user_attrs
        if last and (last.state != TrialState.FAIL or (is_new and last.number >= first)):
            continue
        params = sweep.candidates[candidate] if sweep.candidates else {} if is_new else last.params
        sampler = optuna.samplers.TPESampler(constant_liar=True)  # of several processes, none looks where another is
        study.sampler = optuna.samplers.PartialFixedSampler(params, sampler)
        trial = study.ask({name: sweep.distribution(name) for name in sweep.ranges or params})
        trial.set_user_attr("candidate", candidate)
        return trial
    return None


def work(study: optuna.Study, sweep: Sweep, place: dict[str, Any]) -> None:
    """Train, in a place as `train_all` takes it, until nothing is left, not even with a process that may be killed."""
    first, watched = len(study.get_trials()), set()
    while True:
        with files.lock(FOLDER, wait=True):  # in turns, lest two take the same candidate
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
    changes, accuracies, state = trial.params, [], TrialState.FAIL
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


def p_value(differences: list[float]) -> float | None:
    """Of Student's test that the mean is 0; None for differences that test nothing, fewer than two or all the same."""
    if len(differences) < 2 or statistics.stdev(differences) < 1e-9:  # points: rounding alone
        return None
    return float(stats.ttest_1samp(differences, 0).pvalue)


def holm(p_values: list[float | None]) -> list[float | None]:
    """The p-values that hold for all comparisons together; None stays None."""
    tested = sorted(p for p in p_values if p is not None)
    steps = (min(1.0, (len(tested) - index) * p) for index, p in enumerate(tested))
    corrected = dict(zip(tested, itertools.accumulate(steps, max), strict=True))
    return [corrected.get(p) for p in p_values]


def mean_cells(values: list[float], sign: str = "") -> list[str]:
    """The mean of some values and its 95 % interval, as cells of the table."""
    mean = format(statistics.mean(values), f"{sign}.3f") if values else "–"
    interval = intervals.mean_interval(values)
    return [mean, f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "–"]


def ranking(candidates: list[tuple[str, dict[int, float]]], seeds: int) -> str:
    """The ranking of candidates, [(name, {seed: accuracy in percent})], as a table, best mean first and pruned ones,
    which have fewer seeds than they should, last; and how many are significantly worse than the best."""
    ranked = sorted(candidates, key=lambda each: (len(each[1]) < seeds, -statistics.mean(each[1].values())))
    (best, reference), rows = ranked[0], []
    differences = [[run[seed] - reference[seed] for seed in run if seed in reference] for _, run in ranked]
    p_values = holm([p_value(values) for values in differences])
    for (name, run), values, p in zip(ranked, differences, p_values, strict=True):
        count = f"{len(run)}{', pruned' * (len(run) < seeds)}"
        comparison = [*mean_cells(values, "+"), "–" if p is None else f"{p:.3g}"]
        verdict = "worse" if p is not None and p < SIGNIFICANT and statistics.mean(values) < 0 else "not told apart"
        rows.append([name, count, *mean_cells(list(run.values())), *comparison, verdict])
    rows[0][4:] = ["", "", "", "best"]
    worse, comparisons = sum(row[-1] == "worse" for row in rows), len(rows) - 1
    return (
        f"{terminal_table(HEAD, rows)}\n\nbest: {best}\n"
        f"significantly worse at {SIGNIFICANT:.0%}, corrected for {comparisons} comparisons: {worse}; "
        f"not told apart from the best: {comparisons - worse}\n"
        "The best was chosen by these very images: its own figure flatters it, until other seeds or the test images "
        "confirm it."
    )


def report(study: optuna.Study, sweep: Sweep) -> str:
    """The ranking so far, what failed, and how many are missing. Raises UserError when nothing is done yet."""
    rows = [(shown(trial.params), trial) for trial in latest(study).values()]
    done = [(name, trial.intermediate_values) for name, trial in rows if trial.value is not None]
    failures = [f"failed: {name}: {trial.user_attrs['failed']}" for name, trial in rows if "failed" in trial.user_attrs]
    if not done:
        raise UserError("; ".join([f"no candidate of study {study.study_name} is done yet", *failures[:1]]))
    missing = sweep.trials - len(done) - len(failures)  # below 0 where the file asks for fewer by now
    return "\n".join([ranking(done, len(sweep.seeds)), *failures, *[f"not done yet: {missing}"] * (missing > 0)])


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
        content = {"name": arguments.file.stem} | load_config(arguments.file)
        content |= {"recipe": arguments.recipe} if arguments.recipe else {}
        fields = (recipes.Recipe.__annotations__.keys() - Sweep.__struct_fields__) & content.keys()
        content[BASE] = {name: content.pop(name) for name in sorted(fields)}
        sweep = files.convert(content, Sweep, arguments.file, "docs/development.md has an example")
        folder, name = sweep.names()
    except (UserError, OSError) as error:
        parser.error(str(error))
    url = arguments.storage or f"sqlite:///{FOLDER / sweep.name}.db"
    try:
        place = sqlalchemy.make_url(url).render_as_string()  # without its password
    except (sqlalchemy.exc.ArgumentError, ValueError):
        parser.error("--storage must be a database's URL, such as sqlite:///sweep.db or postgresql://user@host/name")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", "Heartbeat of storage")  # is for Optuna's own loop: `train` sees to it
    try:
        with files.lock(FOLDER, wait=True):
            study = open_study(name, url)
        if not arguments.show:
            print(f"study {name} in {place}: {sweep.trials} candidates, {len(sweep.seeds)} seeds each", flush=True)
            work(study, sweep, records.place(arguments, sweep.changed_recipe({}).threads) | {"folder": FOLDER / folder})
        print(report(study, sweep))
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, ImportError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        remedy = "is there such a database, is its driver installed, and does nothing else hold it?"
        raise UserError(f"{place} could not be used ({reason}): {remedy}") from error


if __name__ == "__main__":
    cli.run(main, RESUME)
