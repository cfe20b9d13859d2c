"""How the test is built, for the reader of a report."""

METHOD_TEXT = """\
<p>Every weighter is trained from the same initial weights, on the same batches in the same
order, once for each seed, and so gives one difference to equal weighting for each seed, on the
same test patients. Two things vary: what training makes of a seed, and who the patients are.
The first is the variance of the seeds' differences over their number. The second is the
variance of the mean difference when patients are drawn again with all their images, less the
part that differs between seeds and is in the first already. Their sum gives the standard error,
and Student's t with Satterthwaite's degrees of freedom the interval and the p-value; p-values
are corrected by Holm over the weighters, and for findings over the findings of a weighter.</p>
<p>It assumes that seeds' differences are about normal, that the seeds run stand for those not
run, and that patients are independent. It says nothing about other data, models or settings.
Below three seeds there is no test: a variance of two numbers rests on a single difference.
A finding that fewer than ten test patients have is not tested by itself; in means over the
findings its patients are taken as typical, so that the error comes out a little too small.
Intervals of a single weighter are of patients only, its deviation is of seeds only.</p>
"""

FOLDS_TEXT = """\
<p>The folds' test images were scored by as many models as there are folds, and ranked together:
what a fold's model scores higher or lower throughout lowers the AUROC, and more so of a weighter
whose models differ more from fold to fold.</p>
"""
