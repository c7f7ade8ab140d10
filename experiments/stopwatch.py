"""The stopwatch of a slice of a training: the seconds per epoch at the speed that it keeps for a while.

The first batches, which wait for loaders and caches, are left out.
"""

import math
import time
from collections.abc import Callable

WARM_UP_BATCHES = 3


class Stopwatch:
    """Times a training that tells it of every batch: `images` and `seconds` are those behind the warm-up. The slice is
    over after `limit` seconds, or so many batches."""

    def __init__(self, limit: float, batches: float = math.inf, on_warm: Callable[[], None] = lambda: None):
        self.limit, self.batches, self.on_warm = limit, batches, on_warm
        self.count, self.images, self.seconds = -WARM_UP_BATCHES, 0, 0.0

    def add(self, images: int) -> bool:
        """Count a batch of so many images that has been trained on; returns whether the slice is over."""
        self.count += 1
        if self.count == 0:
            self.on_warm()
            self.start = time.perf_counter()
        elif self.count > 0:
            self.images, self.seconds = self.images + images, time.perf_counter() - self.start
        return self.seconds > self.limit or self.count >= self.batches

    def seconds_for(self, images: int) -> float:
        """The seconds that so many images take at the speed of the slice."""
        return self.seconds / self.images * images
