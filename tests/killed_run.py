"""A training on a small part of the real data, as a process of its own that a test can kill.

python killed_run.py DATA, then train.py's flags
"""

import sys

from conftest import SMALL_TEST, SMALL_TRAINING

import data
import train

if __name__ == "__main__":
    training, test = data.load(sys.argv[1])
    data.load = lambda *_: (training[:SMALL_TRAINING], test[:SMALL_TEST])
    sys.exit(train.main(sys.argv[2:]))
