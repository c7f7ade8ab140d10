"""The demo: a page on which one draws a digit, and trained networks read it while it is drawn.

    python -m deployment.demo [RUN ...] [--out results/demo] [--port 8000] [--build-only]

builds a folder, and serves it to this machine alone until Ctrl-C. The folder is a static site that works under any
path: onnxruntime-web, fetched by npm once and checked by its SHA-256 sums, runs each network in the page. Without RUN
it has the best finished run; and always the networks of the records. A build that fails leaves the last one whole.
"""

import gzip
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from support import UserError, cli, download, files, server

import results
from deployment import layers, network
from deployment.network import Network
from reporting import records_page

PAGE = Path(__file__).parent / "page"
PICTURE = cli.ROOT / "docs" / "demo.png"  # what is shown where somebody links to the page
REMOTE = r"(?:https://|ssh://)?(?:[^@/]+@)?([\w.-]+\.\w+)[:/]([\w.~/-]+?)(?:\.git)?/?"  # of git: host, path
RUNTIME = "onnxruntime-web", "1.30.0"
RUNTIME_SHA256 = {  # of the files in its folder dist that the page needs
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}


def choose(named: list[Path]) -> list[Network]:
    """The networks of a demo: those of the runs named, else that of the best run; then the committed ones. Raises
    UserError for a run that cannot be read with, and for two of one name."""
    own = [network.find(run) for run in named] or [network.find()]
    names = [each.name for each in own]
    if len(set(names)) < len(names):
        raise UserError(f"two of the runs {', '.join(names)} have one name: the page tells them apart by it")
    return own + [each for each in network.records() if each.name not in names]


def fetch_runtime(data_dir: Path) -> Path:
    """The folder with the files of onnxruntime-web, fetched where one is missing or damaged. Raises UserError."""
    folder, sources = data_dir / "-".join(RUNTIME), download.npm_package("@".join(RUNTIME), list(RUNTIME_SHA256))
    if set(download.state(folder, RUNTIME_SHA256).values()) != {"verified"}:
        with files.lock(data_dir, wait=True):
            download.fetch(
                folder,
                RUNTIME_SHA256,
                sources,
                lambda there: map(Path.read_bytes, filter(Path.is_file, there.iterdir())),
            )
    return folder


def source() -> str | None:
    """The address of the project's repository on the web: git's remote `origin`. None where there is none."""
    command = "git remote get-url origin"  # by a shell, whose output is empty where there is no git
    said = subprocess.run(command, shell=True, cwd=cli.ROOT, capture_output=True, text=True).stdout
    named = re.fullmatch(REMOTE, said.strip())
    return f"https://{named[1]}/{named[2]}" if named else None


def build(networks: list[Network], data_dir: Path, out: Path) -> None:
    """Build the static site of these networks into `out`, in the place of an earlier one.

    Raises UserError where `out` holds something else, and where something is missing that cannot be made."""
    runtime, (script, binary) = fetch_runtime(data_dir), RUNTIME_SHA256
    with files.told(out, "could not be built"):
        if out.exists() and not (out / "vendor" / script).exists() and any(out.iterdir()):
            raise UserError(f"{out} is no demo, and would be replaced: name another folder with --out (make: OUT=)")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
            site = Path(temporary) / "new"
            (site / "vendor").mkdir(parents=True)
            for path in [*PAGE.iterdir(), PICTURE]:
                shutil.copyfile(path, site / path.name)
            shutil.copyfile(runtime / script, site / "vendor" / script)
            content = files.read(runtime / binary)  # packed to a quarter, whatever a server does
            (site / "vendor" / f"{binary}.packed").write_bytes(gzip.compress(content, 6, mtime=0))
            runs = [add_network(each, site / "runs" / each.name) for each in networks]
            add_network(network.detector(), site / "detector")
            (site / "records.html").write_text(records_page.render({run["name"] for run in runs}), encoding="utf-8")
            files.write_json(site / "runs.json", {"source": source(), "runtime_bytes": len(content), "runs": runs})
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
    if each.path.parent == results.RECORDS and (record := results.load_record(each.name)):
        facts["record"] = {key: record[key] for key in ("mean", "mean_ci95")} | {"seeds": len(record["runs"])}
    return each.facts | facts


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=results.find_run, metavar="RUN", help="its folder, or name in results/")
    parser.add_argument("--out", type="path", default=results.RUNS / "demo", help="a folder (default: results/demo)")
    parser.add_argument("--port", type=int, help="(default: 8000, or the next that is free)")
    parser.add_argument("--build-only", action="store_true", help="build the folder, and serve nothing")
    parser.add_data()
    arguments = parser.parse_args(argv)
    build(choose(arguments.runs), arguments.data, arguments.out)
    if arguments.build_only:
        print(arguments.out)
    else:
        server.serve(server.listen(arguments.out, arguments.port))


if __name__ == "__main__":
    cli.run(main)
