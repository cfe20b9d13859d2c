"""DeepChest for rare findings: the published rule with a signal that reflects them (our preset).

Once an epoch, with L_i the task's mean training loss, p_i its prevalence in training,
H(p) = -p ln p - (1 - p) ln(1 - p), r_i = L_i / H(p_i), and theta the mean of all r_i:
    r_i > theta:   w_i <- min(1.1 w_i, 1.5)
    otherwise:     w_i <- max(w_i / 1.05, floor)
and then all w_i times T / (the sum of all w_j). The objective is the sum of w_i L_i.

- r_i in place of accuracy: at 1 nothing but the prevalence has been learned, however rare the
  finding; by accuracy a finding that is almost always absent seems solved.
- The floor: no weight decays to nothing.
- The sum T: the weights change relative to each other, not the learning rate.

Evidence: no gain. It was made for rare findings, and in a preregistered pilot study of small
models on a sample of real radiographs (docs/study.md, 42 seeds) the mean AUROC of the five rarest
was equivalent to that of equal weighting (+0.0002, simultaneous 95 % interval -0.0041 to +0.0046,
margin 0.005), as was macro AUROC. Four of these five had a low training loss there, so that their
weights fell. Before, two runs of the same ten seeds on synthetic radiographs disagreed on the
rarest (+0.0065, p about 0.05; -0.0062, p = 0.16), both lost on Effusion (-0.0146, -0.0175), and
one lost macro AUROC (-0.0075, p = 0.011).
tests/benchmarks/RARE-FINDINGS.md has all that was tried.
"""

from functools import partial

from deepchest_cli.weighting.deepchest import DeepChestWeighter

rare_deepchest = partial(
    DeepChestWeighter, signal="normalized-cross-entropy", floor=0.5, renormalize=True
)
