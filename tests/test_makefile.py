"""make: what it makes of its variables, and the environment that it prepares. In most tests Python and uv are shell
scripts that write down their starts."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

import environment

pytestmark = pytest.mark.process

PYTHON = f"""#!/bin/sh
log() {{ echo "$*" >>"$LOG_FILE"; }}
case "$*" in
*_base_executable*) echo "$0"; exit ${{OLD:-0}} ;;
*fcntl*) exec "{sys.executable}" "$@" ;;
-V) echo Python 3.10.13 ;;
*"-m venv "*) log venv; eval "$VENV_STEPS"; for folder; do :; done
    [ -L "$folder" ] && exit 1 # as the module venv
    mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python"; touch "$folder/pyvenv.cfg" ;;
*"pip config list") printf '%s\\n' "$PIP_CONFIG" ;;
*"pip install"*) log "pip install uv"; cp "$UV" "${{0%/*}}/uv" ;;
*.py*|*deployment*) log "${{PYTHONPATH-}}$*" ;;
esac
"""
UV = """#!/bin/sh
all=$*
case "$all" in
--version) exit ;;
*--dry-run*) echo probe >>"$LOG_FILE"; exit ${PROBE:-0} ;;
esac
echo "uv ${UV_INDEX:+from $UV_INDEX }${all##*/python }" >>"$LOG_FILE"
eval "$UV_STEPS"
"""
AUTO = "--torch-backend=auto"


class Project:
    """A project of this Makefile in a folder of its own, and a machine whose Python and uv are scripts."""

    def __init__(self, folder):
        self.folder, self.log, programs = folder / "a project", folder / "log", folder / "programs"
        self.venv, self.uv = self.folder / ".venv", programs / "uv"
        shutil.copytree(environment.ROOT / "support", self.folder / "support")
        for path in (environment.ROOT / "Makefile", *environment.ROOT.glob("requirements*.txt")):
            shutil.copy(path, self.folder)
        programs.mkdir()
        for path, text in ((programs / "python3", PYTHON), (self.uv, UV)):
            path.write_text(text)
            path.chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        self.place = {"PATH": path, "HOME": str(folder), "LOG_FILE": str(self.log), "UV": str(self.uv)}

    def start(self, *words, **place):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
        return subprocess.Popen(["make", *words], cwd=self.folder, env=self.place | place, **pipes)

    def make(self, *words, status=0, **place):
        """(what make printed, what it started) for some words on its command line."""
        process = self.start(*(words or ["view-results"]), **place)
        printed = process.communicate(timeout=60)[0]
        assert process.returncode == (2 if status else 0), printed
        return [line for line in printed.splitlines() if not line.startswith("make: ")], self.started()

    def started(self):
        """The lines of what was started since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def begin(self, stage):
        """Start make, and return its process when that stage has begun."""
        steps = 'touch .venv/half .venv/pyvenv.cfg; echo begun >>"$LOG_FILE"; sleep 1; echo ended >>"$LOG_FILE"'
        process = self.start("view-results", **{stage: steps})
        while not self.log.exists() or "begun" not in self.log.read_text():
            time.sleep(0.01)
        return process


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


RESULTS = "verdict.py"
INSTALL = f"uv {AUTO} -r requirements.txt"
FIRST = ["venv", "probe", INSTALL, RESULTS]
SAID = "installing what requirements.txt asks for into .venv"


def test_what_a_target_needs_is_installed_once_and_again_when_the_content_changes(project):
    assert project.make() == (["making the environment .venv", SAID], FIRST)
    os.utime(project.folder / "requirements.txt", (2e9, 2e9))
    assert project.make() == ([], [RESULTS])
    assert project.make("predict")[1] == [f"uv {AUTO} -r requirements-read.txt", "-m deployment.predict"]
    (project.folder / "requirements.txt").write_text("numpy\n")
    assert project.make("predict")[1] == ["-m deployment.predict"]  # reads without what training needs
    run = project.folder / "results" / "mine" / "results.json"
    run.parent.mkdir(parents=True)
    run.touch()  # and exports a run of one's own with it
    deploy = f"uv {AUTO} -r requirements-deploy.txt"
    assert project.make("predict")[1] == [INSTALL, deploy, "-m deployment.predict"]
    assert project.make("env-update")[1][0] == f"uv {AUTO} --upgrade -r requirements.txt"


def test_without_uv_it_is_installed_into_the_environment_once(project):
    project.place["UV"] = str(project.uv.rename(project.uv.with_name("uv-to-be-installed")))
    assert project.make()[1] == ["venv", "pip install uv", *FIRST[1:]]
    assert project.make("predict")[1][0] == f"uv {AUTO} -r requirements-read.txt"


def test_a_python_that_is_too_old_is_told_in_a_line_and_a_folder_of_others_left_as_it_is(project, inject):
    inject("precondition of the install", 2)
    (line,), started = project.make(OLD="1", status=1)
    assert "python3 is Python 3.10.13: this project needs Python 3.11 or later" in line
    assert line.endswith("make SYSTEM_PYTHON=python3.11")
    assert (started, project.venv.exists()) == ([], False)
    project.venv.mkdir()
    (project.venv / "diary").write_text("mine")
    (line,), started = project.make(status=1)
    assert line.startswith(".venv is no virtual environment (it has no pyvenv.cfg) and is left as it is: make VENV=")
    assert (started, [path.name for path in project.venv.iterdir()]) == ([], ["diary"])


@pytest.mark.parametrize("stage", ["VENV_STEPS", "UV_STEPS"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_an_interrupted_install_goes_on_at_the_next_start(project, inject, stage, name):
    process = project.begin(stage)
    inject(f"{name} while installing")
    os.killpg(process.pid, getattr(signal, name))
    process.communicate(timeout=60)
    project.started()
    again = [f"uv {AUTO} --reinstall -r requirements.txt", RESULTS]
    assert project.make()[1] == (FIRST if stage == "VENV_STEPS" else again)
    assert (project.venv / "half").exists() == (stage == "UV_STEPS")
    assert project.make()[1] == [RESULTS]


def test_an_environment_whose_python_is_gone_or_another_by_now_is_made_again(project, inject):
    python = project.venv / "bin" / "python"
    project.make()
    inject("precondition of the install", 2)
    python.unlink()
    python.symlink_to("/python/of/the/last/system")
    assert project.make()[1] == FIRST
    for version, started in (("3.13.2", []), ("3.11.2", FIRST)):
        (project.venv / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}\n")
        python.write_text(f"#!/bin/sh\n[ $1 = {RESULTS} ] || [ $1 = -V ] && echo Python 3.13.7\n")
        assert project.make()[1] == started


def test_of_two_at_once_one_waits_for_what_the_other_started_even_if_that_is_killed(project, inject):
    first = project.begin("UV_STEPS")
    inject("SIGKILL while installing")
    first.kill()
    said, started = project.make()
    first.communicate(timeout=60)
    assert said[0] == "waiting: another make is installing into .venv"
    assert started[:6] == [*FIRST[:-1], "begun", "ended", RESULTS]


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("name", ["my env", "~/my env"])
def test_the_environment_lies_where_venv_says_or_links_to(project, name, link):
    home = project.folder.parent
    folder = home / name[2:] if name[0] == "~" else project.folder / name
    if link:
        folder.symlink_to(home / "other disk" / "venv")
    for started in (FIRST, [RESULTS]):
        assert project.make("view-results", f"VENV={name}", PYTHONPATH="/of/others/")[1] == started
    assert (home / "other disk" / "venv" / "pyvenv.cfg").exists() == folder.is_symlink() == link


@pytest.mark.parametrize(
    ("place", "first", "later"),
    [
        ({"PROBE": "1"}, ["probe", "uv -r requirements.txt"], "uv -r"),
        ({"UV_TORCH_BACKEND": "cpu"}, ["probe", INSTALL.replace("auto", "cpu")], "uv --torch-backend=cpu -r"),
        ({"UV_INDEX": "mine"}, ["uv from mine -r requirements.txt"], "uv -r"),
        ({"PIP_CONFIG": "global.extra-index-url='a b'"}, ["uv from a b -r requirements.txt"], "uv -r"),
    ],
)
def test_where_torch_comes_from_is_decided_once(project, place, first, later):
    """From PyTorch's own index where that answers, unless there is another of one's own."""
    said, started = project.make(**place)
    assert started == ["venv", *first, RESULTS]
    assert any("PyTorch's own index does not answer" in line for line in said) == ("PROBE" in place)
    assert project.make("predict")[1][0] == f"{later} requirements-read.txt"


MAKEFILE = (environment.ROOT / "Makefile").read_text()
COMMON = re.search(r"foreach name,([A-Z\s\\]+),", MAKEFILE)[1].replace("\\", "").split()  # names that others use too


def make(*words, **place):
    place = {"cwd": environment.ROOT, "env": {"PATH": os.environ["PATH"]} | place}
    return subprocess.run(["make", *words], **place, capture_output=True, text=True)


def said_to_do(words, **place):
    """What make would do, in a line without quotes."""
    text = make("-n", *shlex.split(words), **place).stdout.replace(".venv/bin/python", "PYTHON")
    return " ".join(text.replace('"', "").replace("\\\n", "").split())


@pytest.mark.parametrize("target", ["train", "predict", "demo", "sweep", "new-model", "check-results", "grade"])
def test_names_that_others_export_do_not_steer_it(target):
    assert said_to_do(target, **dict.fromkeys(COMMON, "debug")) == said_to_do(target)
    assert "--recipe mine --data there" in said_to_do("evaluate", RECIPE="mine", DATA="there")


PASSED_ON = """
train RECIPE=fast SEED=3 EPOCHS=2 OUT=here   train.py --recipe fast --seed 3 --epochs 2 --out here
train CONFIG=a.toml LR=auto DATA=~/b         train.py --config a.toml --find-lr true --data ~/b
train HOLDOUT=10 LR=0.1 OVERWRITE=1          --validation-images 10 --holdout true --learning-rate 0.1 --overwrite
train NPROC=2 DEVICE=cpu OVERWRITE=no        -m support.launch 2 train.py --device cpu
train LOG=tensorboard                        requirements-dev.txt PYTHON
find-lr DATASET=fashion-mnist                -m reporting.find_lr --dataset fashion-mnist
show-model RECIPE=mine                       -m reporting.rules mine
check-model                                  -m reporting.rules default --check all
evaluate SEED=3                              run=$(PYTHON results.py --seed 3 ) && PYTHON -m reporting.evaluation $run
check-results RUN=there MINIMUM=99           run=there && PYTHON verdict.py $run --minimum 99
predict "IMAGE=a b" JSON=1                   run= && PYTHON -m deployment.predict a b ${run:+--run $run} --json
export RECIPE=fast                           run=$(PYTHON results.py --recipe fast ) && PYTHON
demo "RUNS=a b" PORT=8080                    run= && PYTHON -m deployment.demo ${run:+$run} a b --port 8080
demo RECIPE=fast                             run=$(PYTHON results.py --recipe fast ) && PYTHON -m deployment.demo
site OUT=site RUN=a                          run=a && PYTHON -m deployment.demo ${run:+$run} --out site --build-only
records RECIPE=published SEEDS=1             -m experiments.records published --seeds 1
verify                                       -m experiments.verify
verify RECIPE=fast TRAIN=1                   -m experiments.verify fast --train
grade "STUDENT=a b" JSON=1 OUT=c MINIMUM=99   -m reporting.grade a b --minimum 99 --csv c --json
sweep FILE=a RECIPE=b STORAGE=c JOBS=2       -m experiments.sweep a --recipe b --storage c --jobs 2
view-results OS=Windows_NT                   .venv/Scripts/python.exe verdict.py
"""


@pytest.mark.parametrize(("words", "passed_on"), re.findall(r"(.+?) {2,}(.+)", PASSED_ON))
def test_make_passes_on_what_it_is_given(words, passed_on):
    assert passed_on in said_to_do(words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("check-params CONFIG=mine.toml", "make check-params takes RECIPE, not CONFIG: put it into recipes.py"),
        ("sweep EPOCHS=2", "make sweep takes RECIPE, not EPOCHS: put it into FILE"),
        ("trian", "No rule to make target"),
    ],
)
def test_what_a_target_does_not_take_is_refused(inject, words, told):
    inject("bad variable of make")
    done = make("-n", *words.split())
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr


def test_help_lists_every_target_and_variable():
    said, targets = make().stdout, re.findall(r"^([a-z-]+):.* ## ", MAKEFILE, re.MULTILINE)
    assert len(targets) >= 35
    assert not [target for target in targets if f"  make {target} " not in said]
    assert {f"{name}=" for name in COMMON} - set(re.findall(r"[A-Z_]+=", said)) == {"UPGRADE="}
