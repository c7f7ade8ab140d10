"""A sweep: candidates tried on held-out training images, and ranked.

    python -m experiments.sweep FILE [--recipe NAME] [--storage URL] [--jobs N]     trains what is missing
    python -m experiments.sweep FILE --show                                         the ranking so far

FILE says what is tried and with which seeds (candidates.py). The test images are never loaded. The same command
resumes, and started several times, on several machines with the same --storage, shares the work.
"""

import dataclasses
import hashlib
import json
import sys
from typing import Any

from support import UserError, cli, processor

import recipes
import results
from experiments import candidates, ranking, records, study
from trainer import identify

FOLDER = results.RUNS / "sweeps"
RESUME = "nothing saved is lost: run the same command to resume"


def digest(*content: Any) -> str:
    """A short sum of plain values, for a name."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def names(sweep: candidates.Sweep) -> tuple[str, str]:
    """The names of a sweep's folder of runs, and of its study. Another recipe or model makes another of both; other
    seeds or candidates another study of the same runs. Raises UserError for a model that is none."""
    recipe = dataclasses.asdict(sweep.recipe)
    models = sorted({(candidate.architecture, candidate.dataset) for candidate in sweep.recipes()})
    identities = [{**identify(*model), "logits": []} for model in models]  # logits differ from machine to machine
    ranges = {name: (limits.low, limits.high, limits.log) for name, limits in sweep.ranges.items()}
    folder = f"{sweep.name}-{sweep.recipe.name}-{digest(recipe, identities)}"
    return folder, f"{folder}-{digest(sweep.seeds, sweep.candidates, ranges)}"


def report(of: study.optuna.Study, sweep: candidates.Sweep) -> str:
    """The ranking of what is done so far, and what is not. Raises UserError when nothing is done."""
    ranked, failures = study.ranked(of, sweep), study.failures(of)
    failed = "".join(f"failed: {name}: {reason}\n" for name, reason in failures.items())
    if not ranked:
        raise UserError(f"no candidate is done yet{'; ' + failed.splitlines()[0] if failed else ''}")
    missing = max(0, sweep.trials - len(ranked) - len(failures))  # the file may ask for fewer by now
    return f"{ranking.report(ranked)}\n{failed}{f'not done yet: {missing}' if missing else ''}".rstrip()


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("file", type="path", help="TOML or JSON (make: FILE=); experiments/sweeps/example.toml is one")
    parser.add_argument(
        "--recipe", choices=recipes.RECIPES, metavar="NAME", help="instead of the file's (make: RECIPE=)"
    )
    parser.add_argument("--storage", help="URL of a database (default: an SQLite file in results/sweeps)")
    parser.add_argument("--jobs", type=int, help="seeds at a time (default: as many as fill the cores)")
    parser.add_argument("--show", action="store_true", help="rank what is done, and train nothing")
    parser.add_data()
    parser.add_device()
    arguments = parser.parse_args(argv)
    if arguments.jobs is not None and arguments.jobs < 1:
        parser.error("--jobs must be at least 1")
    try:
        sweep = candidates.read(arguments.file, arguments.recipe)
        folder, name = names(sweep)
    except (UserError, OSError) as error:
        parser.error(str(error))
    jobs = arguments.jobs or records.jobs_at_once(sweep.recipe.threads)
    threads = processor.threads(jobs, sweep.recipe.threads)
    url = arguments.storage or study.sqlite_url(FOLDER / f"{sweep.name}.db")
    shown = study.hide_password(url)
    with study.told(url):
        if arguments.show:
            found = study.load_study(name, url)
        else:
            found = study.open_study(sweep, name, url, FOLDER / folder)
            print(f"study {name} in {shown}: {sweep.trials} candidates, {len(sweep.seeds)} seeds each", flush=True)
            flags = ["--data", str(arguments.data), "--device", arguments.device]
            study.Worker(found, sweep, FOLDER / folder, jobs, threads, flags).work()
        print(report(found, sweep))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main, RESUME))
