"""Confidence intervals at 95 %: of an accuracy, and of a mean over seeds."""

import math
import statistics

NORMAL_95 = statistics.NormalDist().inv_cdf(0.975)
STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # 1 to 10 degrees of freedom


def wilson_interval(accuracy: float, count: int) -> list[float]:
    """[low, high], in percent, of an accuracy (in percent) measured on `count` images (Wilson 1927)."""
    p, z = accuracy / 100, NORMAL_95
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return [100 * (centre - half), 100 * (centre + half)]


def student_quantile(freedom: int) -> float:
    """Student's t at 97.5 %; beyond the table by Abramowitz & Stegun 26.7.5."""
    if freedom <= len(STUDENT_95):
        return STUDENT_95[freedom - 1]
    z = NORMAL_95
    terms = z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return sum(term / freedom**power for power, term in enumerate(terms))


def mean_interval(values: list[float]) -> list[float] | None:
    """[low, high] of the mean of a few runs (Student's t); None for fewer than two."""
    if len(values) < 2:
        return None
    mean = statistics.mean(values)
    half = student_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return [mean - half, mean + half]
