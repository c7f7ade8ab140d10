"""The command line: what every script shares in talking to people. One clear line says what went wrong.

Exit status: 0 done, 1 failed, 2 wrong usage; 130 stopped by Ctrl-C, 143 by SIGTERM, 141 when the reader of the output
has gone, as shells number signals.
"""

import argparse
import contextlib
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from support import UserError

RESUME = "nothing saved is lost: run the same command to resume, or add --overwrite to start over"
CAUSES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
BROKEN_PIPE = 141  # 128 + SIGPIPE, a signal that Windows does not have
OUT_OF_MEMORY = re.compile(
    "(CUDA|HIP|MPS backend) out of memory|DefaultCPUAllocator: (can't allocate|not enough) memory"
)
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # what printing meets where output goes to a file
ROOT = Path(__file__).resolve().parent.parent


def project_path(name: str) -> Path:
    """A file of the project, wherever a script was started: short where that was the project's own folder."""
    return Path(name) if Path.cwd() == ROOT else ROOT / name


def path(text: str) -> Path:
    """A path as a person types it: ~ is the home folder, also where no shell has seen it, as in make's DATA=~/mnist."""
    try:
        if "\0" not in text:
            return Path(text).expanduser()
    except RuntimeError:  # ~ of no user
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no path")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage text, and exit status 2."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message} (see --help)\n")

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)
        self.register("type", "path", path)

    def add_data(self) -> None:
        self.add_argument(
            "--data", type="path", default=project_path("data"), help="folder of the data (default: data)"
        )

    def add_device(self) -> None:
        self.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="(default: auto)")


class Stopped(KeyboardInterrupt):
    """A signal, `args[0]`, asked the process to stop."""


def stop(number: int, _) -> None:
    """Raise Stopped on the first signal; a second one ends the process at once."""
    for each in CAUSES:
        signal.signal(each, signal.SIG_DFL)
    raise Stopped(number)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let the first signal raise Stopped within this context. After it, all is done and any signal ends the process."""
    handled = [number for number in CAUSES if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores some
    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def warn(message: object) -> None:
    """Print a warning on stderr, if anybody reads it."""
    with contextlib.suppress(OSError):
        print(f"warning: {message}", file=sys.stderr)


def run(main: Callable[[], int], remedy: str = "") -> int:
    """Run a script's `main` and return its exit status.

    A UserError becomes one line on stderr, and so does a stop, with the remedy, and too little memory. Anything else is
    a fault of the program and keeps its traceback."""
    prepare_output()

    def tell(message: object) -> None:
        new_line = "\n" if sys.stderr.isatty() else ""  # after the ^C, or a progress bar
        with contextlib.suppress(OSError):
            # In one write, as others may write to the same terminal.
            print(f"{new_line}{os.path.basename(sys.argv[0])}: {message}\n", end="", file=sys.stderr)

    hint = f"; {remedy}" if remedy else ""
    try:
        with stoppable():
            status = main()
            sys.stdout.flush()
        return status
    except KeyboardInterrupt as error:
        number = error.args[0] if isinstance(error, Stopped) else signal.SIGINT
        tell(f"stopped by {CAUSES[number]}{hint}")
        return 128 + number
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        if remedy:
            tell(f"stopped: nobody reads the output any more{hint}")
        return BROKEN_PIPE
    except UserError as error:
        tell(error)
        return 1
    except OSError as error:
        if error.filename or error.errno not in UNWRITABLE:
            raise
        tell(f"the output could not be written ({error.strerror})")
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        tell("out of memory: use a smaller batch size")
        return 1
    finally:
        silence_closed_output()


def prepare_output() -> None:
    """Make stdout and stderr accept any text, even when they are closed or cannot encode Unicode."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before the start
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open as long as the process lives)
        getattr(sys, name).reconfigure(errors="replace")


def silence_closed_output() -> None:
    """Let Python exit without complaining about output that cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
