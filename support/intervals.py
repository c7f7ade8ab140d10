"""Confidence intervals at 95 %: of an accuracy, of a mean over seeds, of the difference of two means, and of that of
two accuracies on the same images."""

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


def prediction_interval(values: list[float]) -> list[float]:
    """[low, high] in which one more run lies (Student's t), of two runs or more."""
    half = student_quantile(len(values) - 1) * statistics.stdev(values) * math.sqrt(1 + 1 / len(values))
    return [statistics.mean(values) - half, statistics.mean(values) + half]


def welch_interval(first: list[float], second: list[float]) -> list[float]:
    """[low, high] of the mean of `first` minus that of `second`, two or more values each, whose variances may differ
    (Welch 1947). Degrees of freedom are rounded down, which makes it a little wider."""
    parts = [(statistics.variance(values) / len(values), len(values) - 1) for values in (first, second)]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / count for part, count in parts) if variance else sum(n for _, n in parts)
    half = student_quantile(math.floor(freedom)) * math.sqrt(variance)
    difference = statistics.mean(first) - statistics.mean(second)
    return [difference - half, difference + half]


def paired_interval(only_first: int, only_second: int, count: int) -> list[float]:
    """[low, high], in percent, of the accuracy of a second model minus that of a first, on the same `count` images, of
    which each alone reads so many right: Wald's interval with an image added to both (Bonett & Price 2012, as
    Fagerland, Lydersen & Laake 2014 advise)."""
    first, second = (only_first + 1) / (count + 2), (only_second + 1) / (count + 2)
    half = NORMAL_95 * math.sqrt((first + second - (second - first) ** 2) / (count + 2))
    return [100 * (second - first - half), 100 * (second - first + half)]


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's exact test (1947): how likely it is that two models that are right equally often differ
    at least as much, given the images that one of them alone reads right."""
    both = only_first + only_second
    tail = sum(math.comb(both, count) for count in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**both)
