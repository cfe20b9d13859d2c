"""What programs write before and behind a finding in the name of a column: `prob_Effusion`."""

import re
from pathlib import Path

from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.tables import plain, plain_finding

Affix = tuple[str, str]  # what stands before and behind a finding, in small letters
NONE: Affix = ("", "")
# words of an affix: those that scores are called by, and those by which something else is meant
LOGITS = frozenset(("logit", "logits"))
PROBABILITIES = frozenset(("prob", "proba", "probabilities", "probability", "probs", "sigmoid"))
SCORES = LOGITS | PROBABILITIES | {
    "conf", "confidence", "hat", "model", "out", "output", "outputs", "p", "pred", "predicted",
    "prediction", "predictions", "preds", "score", "scores", "y", "yhat", "ypred",
}  # fmt: skip
LABELS = frozenset(
    ("actual", "expert", "groundtruth", "gt", "label", "labels", "target", "targets", "true")
)
NEGATIONS = frozenset(("absent", "excluded", "neg", "negative", "no", "non", "not", "without"))
# between words: signs, and the beginning of a word in capitals
BREAK = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])")


def ways_of_naming(columns: list[str], known: dict[str, str]) -> dict[Affix, dict[str, str]]:
    """Return the columns by what stands around the findings in their names, and by finding."""
    found: dict[Affix, dict[str, str]] = {}
    for column in columns:
        split = split_name(column, known)
        if split is not None:
            affix, finding = split
            found.setdefault(affix, {}).setdefault(finding, column)
    plainly = found.get(NONE, {}).keys()
    return {
        affix: of
        for affix, of in found.items()
        # beside findings as they are, only a way to name the same ones again is one
        if affix == NONE
        or (plainly and of.keys() <= plainly and words_of(affix) & (SCORES | LABELS))
        or (not plainly and (len(of) > 1 or words_of(affix) <= SCORES | LABELS))
    }


def only_way(ways: dict[Affix, dict[str, str]], path: Path) -> Affix:
    """Return the one way in which columns name findings; `NONE` where there is none."""
    if len(ways) > 1:
        one, other = (next(iter(of.values())) for of in list(ways.values())[:2])
        raise UsageError(
            f"{path} names findings in two ways, as {one!r} and as {other!r}: which of them are "
            "meant is not clear.",
            "Keep the columns of one kind.",
        )
    return next(iter(ways), NONE)


def split_name(column: str, known: dict[str, str]) -> tuple[Affix, str] | None:
    """Return what stands around the longest finding in a column's name, and the finding."""
    text = column.strip()
    breaks = [(0, 0), *(match.span() for match in BREAK.finditer(text)), (len(text), len(text))]
    parts = [
        (start, end)
        for first, (_, start) in enumerate(breaks)
        for end, _ in breaks[first + 1 :]
        if plain_finding(text[start:end]) in known
    ]
    if not parts:
        return None
    start, end = max(parts, key=lambda part: (len(plain(text[slice(*part)])), part[0] - part[1]))
    return (text[:start].lower(), text[end:].lower()), plain_finding(text[start:end])


def without(column: str, affix: Affix) -> str | None:
    """Return a column's name without an affix; None where it has another one."""
    before, behind = affix
    text = column.strip()
    small = text.lower()
    fits = len(text) >= len(before) + len(behind)
    if not (fits and small.startswith(before) and small.endswith(behind)):
        return None
    return text[len(before) : len(text) - len(behind)]


def words_of(affix: Affix) -> set[str]:
    """Return the words of an affix, without signs and numbers."""
    return {word for text in affix for word in re.split(r"[\W_\d]+", text) if word}
