"""A class, graded: this checkout's verdict on the best run in each student's folder, on the images that are here.

    python -m reporting.grade class/anna class/ben [--json] [--csv grades.csv] [--limit 120] [--minimum 99.4]

It runs the students' code, each model.py, in a process of its own (examinee.py), which is no sandbox: docs/classroom.md
says how to grade in a container, and what cannot be seen. The exit status is 0 whatever students did.
"""

import concurrent.futures
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from support import UserError, cli, devices, files
from support.rule import mark

import data
import verdict


def ask(folder: Path, flags: list[str], limit: float) -> dict[str, Any]:
    """The answer of a student's process. Raises UserError where there is none, and after so many seconds."""
    with tempfile.TemporaryDirectory() as place:
        answer, said = Path(place, "answer"), Path(place, "said")
        command = [sys.executable, "-m", "reporting.examinee", folder, *flags, answer]
        environment = os.environ | {"END_WITH_PARENT": str(os.getpid()), "OMP_NUM_THREADS": "1"}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        try:
            with open(said, "wb") as errors:
                run = subprocess.run(command, cwd=cli.ROOT, env=environment, timeout=limit, stderr=errors, **quiet)
                status = run.returncode
        except subprocess.TimeoutExpired as error:
            raise UserError(f"not done within {limit:g} s: a loop without end? --limit allows it more") from error
        if answer.exists():
            return json.loads(files.read(answer))
        if status < 0:
            raise UserError(f"its process was killed by {signal.Signals(-status).name}")
        lines = files.read(said).decode(errors="replace").splitlines() if status else []
        raise UserError(lines[-1].removeprefix("examinee.py: ") if lines else f"its process ended with status {status}")


def grade(student: Path, flags: list[str], limit: float) -> dict[str, Any]:
    """A student's row: run, accuracy, points, a point for each rule, what is broken, why there is no verdict."""
    row = {"student": str(student), "run": "", "accuracy %": None, "points": 0}
    row |= {"rules": {}, "broken": [], "problem": ""}
    try:
        if not student.is_dir():
            raise UserError("no such folder")
        answer = ask(student.resolve(), flags, limit)
        rules = {rule["name"].partition(",")[0]: int(rule["passed"]) for rule in answer["rules"]}
        broken = [f"{rule['name']} {rule['measured']}" for rule in answer["rules"] if not rule["passed"]]
        row |= {"run": answer["run"], "accuracy %": round(answer["accuracy"], 2), "points": sum(rules.values())}
        return row | {"rules": rules, "broken": broken}
    except (OSError, ValueError, TypeError, LookupError) as error:  # of whatever is there, or is answered
        return row | {"problem": str(error)}


def format_row(row: dict[str, Any], width: int) -> str:
    """A student's row in a line, in which nothing steers a terminal."""
    accuracy = [] if row["accuracy %"] is None else [f"{row['accuracy %']:.2f} %"]
    text = textwrap.shorten("; ".join([row["run"], *accuracy, *row["broken"], row["problem"]]).strip("; "), 400)
    points = f"{row['points']}/{len(row['rules'])}" if row["rules"] else "0"
    text = f"{mark(not row['problem'] and not row['broken'])} {points:>4}  {row['student']:{width}}  {text}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def table(rows: list[dict[str, Any]]) -> bytes:
    """The rows as CSV, with a column for each rule: 1 or 0, or nothing where it was not judged."""
    rules, text = dict.fromkeys(name for row in rows for name in row["rules"]), io.StringIO()
    names = ["student", "run", "accuracy %", "points", *rules, "problem"]
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"rules": None} | row["rules"] for row in rows)  # one of the rules is called rules
    return text.getvalue().encode()


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("students", nargs="+", type="path", metavar="student", help="a folder, whose code is run")
    parser.add_argument("--dataset", default="mnist", choices=data.DATASETS, help="(default: mnist)")
    parser.add_argument("--limit", type=float, default=120, help="seconds for each student (default: 120)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--csv", type="path", metavar="FILE", help="write a table, too")
    parser.add_data()
    verdict.add_bounds(parser)
    arguments = parser.parse_args(argv)
    data.fetch(data.DATASETS[arguments.dataset], arguments.data)
    bounds = json.dumps(verdict.given_bounds(arguments))
    flags, rows = [arguments.data.resolve(), arguments.dataset, bounds], []
    width = max(len(str(student)) for student in arguments.students)
    with concurrent.futures.ThreadPoolExecutor(devices.cores()) as pool:
        for row in pool.map(lambda student: grade(student, flags, arguments.limit), arguments.students):
            rows.append(row)
            if not arguments.json:
                print(format_row(row, width), flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    if arguments.csv:
        files.replace_file(arguments.csv, table(rows))


if __name__ == "__main__":
    cli.run(main)
