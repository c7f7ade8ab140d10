"""torchrun, for people: several processes of this machine run one script, and end with one line and its exit status.

    python -m support.launch 2 train.py --recipe fast

torchrun itself ends every failure with a long traceback of its own and status 1.
"""

import logging
import os
import signal
import sys
import tempfile

from support import cli, devices


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description="Run a script in several processes of this machine that train together.")
    parser.add_argument("count", type=int, help="number of processes")
    parser.add_argument("script")
    parser.add_argument("flags", nargs="...", help="the script's own")
    count, script, flags = vars(parser.parse_args(argv)).values()
    if not 1 <= count <= devices.cores():
        parser.error(f"the number of processes must be 1 to {devices.cores()}, the cores, got {count}")

    from torch.distributed import run as torchrun  # a second of imports that the processes themselves do without
    from torch.distributed.elastic.multiprocessing import api, errors

    logging.disable(logging.CRITICAL)  # the line below says it shorter
    os.environ.setdefault("OMP_NUM_THREADS", str(devices.threads(count)))
    try:
        with tempfile.TemporaryDirectory() as logs:
            options = ["--standalone", f"--nproc-per-node={count}", "--local-ranks-filter=0", f"--log-dir={logs}"]
            torchrun.main([*options, script, *flags])
    except api.SignalException as error:  # passed on to the processes; process 0 says so
        return 128 + error.sigval
    except errors.ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        killed = {rank: -code for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM}  # torchrun's own
        if not killed:  # process 0 has said why
            return codes.get(0, 1)
        how = f"process {min(killed)} of {count} was killed by {signal.Signals(killed[min(killed)]).name}"
        print(f"{script}: {how}: stopped; {cli.RESUME}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    cli.run(main)
