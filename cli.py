"""The command line: what all scripts share in talking to people. One clear line for what went wrong, never a traceback.

Exit status: 0 done, 1 failed, 2 wrong usage; 130 stopped with Ctrl-C, 143 with SIGTERM, 141 where nobody reads the
output any more, as shells count signals.
"""

import argparse
import contextlib
import os
import signal
import sys

GO_ON = "what was saved stands: the same command goes on from there, with --overwrite it starts again"
CAUSES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage text, and exit status 2."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see --help)\n")

    def add_data(self):
        self.add_argument("--data", default="data", help="the folder of MNIST (default: data)")

    def add_device(self):
        self.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


class Stopped(KeyboardInterrupt):
    """The process was asked to stop, by the signal `args[0]`."""


def stop(number, _):
    """What the first signal does: raise Stopped, and leave a second one to end the process at once."""
    for each in CAUSES:
        signal.signal(each, signal.SIG_DFL)
    raise Stopped(number)


@contextlib.contextmanager
def stoppable():
    """Within this context the first signal raises Stopped; after it each ends the process at once, as all is done."""
    caught = [number for number in CAUSES if signal.getsignal(number) != signal.SIG_IGN]  # ignored as under nohup
    for number in caught:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def warn(message):
    """Tell of something on stderr, if anybody listens."""
    with contextlib.suppress(OSError):
        print(f"warning: {message}", file=sys.stderr)


def run(main, remedy=""):
    """Run a script's `main` and return its exit status. What a person can mend (a value, a file, a stop) becomes one
    line on stderr, with the remedy where it was stopped; anything else is a fault of the program and keeps its
    traceback."""
    prepare_output()

    def tell(message):
        new_line = "\n" if sys.stderr.isatty() else ""  # after the ^C, or a progress bar
        with contextlib.suppress(OSError):
            print(f"{new_line}{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)

    def stopped(cause):
        tell(f"stopped{cause}" + (f"; {remedy}" if remedy else ""))

    try:
        with stoppable():
            status = main()
            sys.stdout.flush()
        return status
    except KeyboardInterrupt as error:
        number = error.args[0] if isinstance(error, Stopped) else signal.SIGINT
        stopped(f" by {CAUSES[number]}")
        return 128 + number
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        if remedy:
            stopped(", as nobody reads the output any more")
        return 128 + signal.SIGPIPE
    except (ValueError, OSError, ArithmeticError) as error:
        tell(error)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):  # as torch says it
            raise
        tell("there is not enough memory: take a smaller batch size")
        return 1
    finally:
        give_up_output()


def prepare_output():
    """Make the output streams take every text, also where they are closed or know no Unicode."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before the start
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open as long as the process lives)
        getattr(sys, name).reconfigure(errors="replace")


def give_up_output():
    """Let Python end without another word about output that cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
