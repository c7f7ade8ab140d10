"""torchrun, for people: several processes of this machine run one script, and end with one line and its exit status.

    python -m support.launch 2 train.py --recipe fast

torchrun itself ends every failure with a long traceback of its own and status 1.
"""

import logging
import os
import signal
import sys
import tempfile

from support import cli, processor


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description="Run a script in several processes of this machine that train together.")
    parser.add_argument("count", type=int, help="number of processes")
    parser.add_argument("script")
    parser.add_argument("flags", nargs="...", help="the script's own")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.count <= processor.cores():
        parser.error(f"the number of processes must be 1 to {processor.cores()}, the cores, got {arguments.count}")

    from torch.distributed import run as torchrun  # a second of imports that the processes themselves do without
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.CRITICAL)  # the line below says it shorter
    os.environ.setdefault("OMP_NUM_THREADS", str(processor.threads(arguments.count)))
    options = ["--standalone", f"--nproc-per-node={arguments.count}", "--local-ranks-filter=0"]
    try:
        with tempfile.TemporaryDirectory() as logs:
            torchrun.main([*options, f"--log-dir={logs}", arguments.script, *arguments.flags])
    except SignalException as error:  # passed on to the processes; process 0 says so
        return 128 + error.sigval
    except ChildFailedError as error:
        return tell_failure(error, arguments.script, arguments.count)
    return 0


def tell_failure(error, script: str, count: int) -> int:
    """Print which process failed, unless process 0 has said why; returns the exit status."""
    codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
    killed = [rank for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM]  # which torchrun sends
    if not killed and codes.get(0, 0) > 0:
        return codes[0]
    rank = killed[0] if killed else error.get_first_failure()[0]
    how = f"killed by {signal.Signals(-codes[rank]).name}" if codes[rank] < 0 else f"ended with status {codes[rank]}"
    print(f"{script}: process {rank} of {count} was {how}: stopped; {cli.RESUME}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(cli.run(main))
