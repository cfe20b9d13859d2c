"""Size and coverage of a comparison's tests on two data sets of different size and prevalence.

Simulated: two weighters with scores of two images a patient; each weighter moves a patient's score
in all seeds alike, and in each seed. Either they are alike, or the second one is better in one data
set and as much worse in the other, so that the mean over the data sets is none. Reported, at 5 %:
how often the mean is found to differ, how often the 95 % interval of each data set's difference
covers the true one, and in how many repetitions any data set's verdict is wrong after Holm's
correction. Patients are resampled within their data set, and beside it all together.
"""

import argparse

import numpy as np
from scipy.stats import norm

from deepchest_cli.comparison.analysis import scores as analysis
from deepchest_cli.comparison.analysis.metrics import MACRO_AUROC, paired, tested
from deepchest_cli.comparison.analysis.scores import score
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.statistics import LEVEL

SEEDS = 3
PREVALENCE = (0.3, 0.15)  # of the two data sets
LABELED = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], dtype=np.uint8)
SIGNAL = 1.2  # by which a finding raises a score
IMAGE, SHARED, OWN = 0.5, 0.3, 0.3  # SD of images, and of a weighter in all seeds, and in each
SPREAD = np.sqrt(IMAGE**2 + 1 + SHARED**2 + OWN**2)  # of a score among the patients


def truth(gain: float) -> np.ndarray:
    """Return the true difference of AUROC in each data set."""
    signals = SIGNAL + gain * np.array([1, -1])
    return norm.cdf(signals / SPREAD / np.sqrt(2)) - norm.cdf(SIGNAL / SPREAD / np.sqrt(2))


def tables(chance: np.random.Generator, patients: tuple[int, int], gain: float) -> tuple:
    """Return predictions of two weighters for each seed, and data set and patient of each image."""
    member = np.repeat([0, 1], [2 * number for number in patients])
    patient = np.repeat(np.arange(sum(patients)), 2)
    shape = (len(member), LABELED.shape[1])
    has = chance.random((sum(patients), shape[1]))[patient]
    labels = (has < np.array(PREVALENCE)[member, None]).astype(np.uint8)
    everyone = (sum(patients), shape[1])
    image = IMAGE * chance.normal(size=shape) + chance.normal(size=everyone)[patient]
    moved = [SHARED * chance.normal(size=everyone)[patient] for _ in range(2)]
    found = []
    for weighter in range(2):
        extra = gain * weighter * np.where(member == 0, 1, -1)[:, None] * labels
        seeds = []
        for _ in range(SEEDS):
            own = OWN * chance.normal(size=everyone)[patient]
            logits = SIGNAL * labels + extra + image + moved[weighter] + own
            scores = 1 / (1 + np.exp(-logits))
            known = LABELED[member]
            seeds.append(Predictions(tuple("abcd"), scores, labels * known, known, patient))
        found.append(seeds)
    return found, member, patient


def differences(found: list, member: np.ndarray, draws) -> tuple[dict, list[dict]]:
    """Return the rows of the mean and of each data set."""
    one, other = (score(seeds, draws, member) for seeds in found)
    pairs = [(other, one), *zip(other.of_each, one.of_each, strict=True)]
    rows = [paired(MACRO_AUROC.of(a), MACRO_AUROC.of(b), MACRO_AUROC.carriers(b)) for a, b in pairs]
    return tested(rows[:1], False, 0.005)[0], tested(rows[1:], False, 0.005)


def simulate(patients: tuple[int, int], gain: float, options: argparse.Namespace) -> None:
    """Print the rates for one pair of data sets, by either way of resampling."""
    wrong = {within: np.zeros(5) for within in (True, False)}
    expected = truth(gain)
    for number in range(options.repetitions):
        chance = np.random.default_rng([options.seed, *patients, number])
        found, member, patient = tables(chance, patients, gain)
        for within, counts in wrong.items():
            draws = resample_patients(
                patient, options.bootstrap_replicates, number, member if within else None
            )
            mean, each = differences(found, member, draws)
            ends = [(mean, expected.mean()), *zip(each, expected, strict=True)]
            misses = [not row["single_low"] <= true <= row["single_high"] for row, true in ends]
            family = any(row["p_holm"] < LEVEL for row in each)
            counts += [*misses, family, mean["p"] < LEVEL]
    for within, counts in wrong.items():
        rates = [f"{count / options.repetitions:.1%}" for count in counts]
        how = "within data sets" if within else "all together"
        print(f"| {patients[0]}, {patients[1]} | {gain:g} | {how} | {' | '.join(rates)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--bootstrap-replicates", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patients", default="150,150;400,60")
    parser.add_argument("--gains", default="0,0.4")
    options = parser.parse_args()
    analysis.METRICS = ("auroc", "loss")  # what the primary metric needs
    print(
        "| patients | gain | resampled | mean missed | first missed | second missed | "
        "any significant | mean significant |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for patients in options.patients.split(";"):
        for gain in options.gains.split(","):
            first, second = map(int, patients.split(","))
            simulate((first, second), float(gain), options)


if __name__ == "__main__":
    main()
