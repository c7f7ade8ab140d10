"""The command line: what all scripts share in talking to people. One clear line for what went wrong, never a traceback.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.
"""

import argparse
import os
import sys


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage text, and exit status 2."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def run(main):
    """Run a script's `main` and return its exit status. What a person can mend (a value, a file) becomes one line on
    stderr; anything else is a fault of the program and keeps its traceback."""
    script = os.path.basename(sys.argv[0])
    try:
        status = main()
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(
            f"\n{script}: stopped; the same command goes on from the last checkpoint (without --overwrite)"
            if script == "train.py"
            else f"\n{script}: stopped",
            file=sys.stderr,
        )
        return 130
    except (ValueError, OSError, ArithmeticError) as error:
        print(f"{script}: {error}", file=sys.stderr)
        return 1
