"""The command line: what every script shares in talking to people. One clear line says what went wrong.

Exit status: 0 done, 1 failed, 2 wrong usage; 130 stopped by Ctrl-C, 143 by SIGTERM, 141 when the reader of the output
has gone, as shells number signals.
"""

import argparse
import contextlib
import errno
import functools
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from support import UserError

RESUME = "nothing saved is lost: run the same command to resume, or add --overwrite to start over"
CAUSES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
OUT_OF_MEMORY = re.compile("(CUDA|HIP|MPS backend) out of memory|DefaultCPUAllocator: .* memory")
UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)  # what printing meets
ROOT = Path(__file__).resolve().parent.parent


def project_path(name: str) -> Path:
    """A file of the project, wherever a script was started: short where that was the project's own folder."""
    return Path(name) if Path.cwd() == ROOT else ROOT / name


def path(text: str) -> Path:
    """A path as a person types it: ~ is the home folder, also where no shell has seen it, as in make's DATA=~/mnist."""
    expanded = os.path.expanduser(text)
    if expanded.startswith("~") or "\0" in text:  # ~ of no user
        raise argparse.ArgumentTypeError(f"{text!r} is no path")
    return Path(expanded)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage text, and exit status 2."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)
        self.register("type", "path", path)

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message} (see --help)\n")

    def add_data(self) -> None:
        self.add_argument("--data", type=path, default=project_path("data"), help="folder of the data (default: data)")

    def add_device(self) -> None:
        self.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="(default: auto)")


def columns() -> int:
    """The width of the terminal that is printed to; without end where that is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def handle_signals(handler: Callable | signal.Handlers) -> None:
    """Let a handler take the signals that stop a process, but for those that nohup or a shell lets it ignore."""
    for number in CAUSES:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def stop(number: int, _) -> None:
    """Raise KeyboardInterrupt(number) on the first signal; a second one ends the process at once."""
    handle_signals(signal.SIG_DFL)
    raise KeyboardInterrupt(number)


def warn(message: object, source: str = "warning") -> None:
    """Print a line on stderr, if anybody reads it, in one write: others may write to the same terminal."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{source}: {message}\n")


def run(main: Callable[[], int | None], remedy: str = "") -> NoReturn:
    """Run a script's `main` and exit with the status that it returns, None for 0.

    A UserError becomes one line on stderr, and so does a stop, with the remedy, output that cannot be written, and too
    little memory. Anything else is a fault of the program and keeps its traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before the start
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open as long as the process lives)
        getattr(sys, name).reconfigure(errors="replace")  # where they cannot encode Unicode

    new_line = "\n" if sys.stderr.isatty() else ""  # after the ^C, or a progress bar
    tell = functools.partial(warn, source=f"{new_line}{os.path.basename(sys.argv[0])}")
    hint = f"; {remedy}" if remedy else ""
    try:
        handle_signals(stop)
        status = main()
        sys.stdout.flush()
        sys.exit(status)
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        tell(f"stopped by {CAUSES[number]}{hint}")
        sys.exit(128 + number)
    except UserError as error:
        tell(error)
    except OSError as error:
        if error.filename or error.errno not in UNWRITABLE:
            raise
        is_unread = error.errno == errno.EPIPE  # the reader, such as `head`, has seen enough
        if remedy or not is_unread:
            tell(f"the output could not be written ({error.strerror}){hint}")
        if is_unread:
            sys.exit(141)  # 128 + SIGPIPE, a signal that Windows does not have
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        tell("out of memory: use a smaller batch size")
    finally:
        handle_signals(signal.SIG_DFL)  # all is done, and any signal ends the process
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # Python would complain of it when it exits
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(1)
