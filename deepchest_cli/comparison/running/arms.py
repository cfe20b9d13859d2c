"""What is compared: weighters, each with its options."""

import re
from dataclasses import dataclass
from hashlib import sha256

from deepchest_cli.errors import UsageError

BASELINE = "equal"
LONGEST = 100  # signs of a folder's name before it is cut
ENTRY = re.compile(r"([^\[\],]+)(?:\[([^\[\]]*)\])?")


@dataclass(frozen=True)
class Arm:
    """A weighter as it takes part in a comparison; the label is what the user wrote."""

    label: str
    weighter: str
    options: tuple[str, ...] = ()  # as KEY=VALUE

    @property
    def folder(self) -> str:
        """The label in signs, and of a length, that every file system takes."""
        plain = re.sub(r"[^A-Za-z0-9+._=-]", "_", self.label)
        if len(plain) <= LONGEST:
            return plain
        return f"{plain[:LONGEST]}-{sha256(self.label.encode()).hexdigest()[:12]}"


def parse_arms(text: str) -> tuple[Arm, ...]:
    """Return the weighters of a list such as `equal,deepchest[signal=auroc,split=validation]`.

    Equal weighting comes first, whether it is named or not. Raises `UsageError` for brackets that
    do not match and for a weighter that is listed twice.
    """
    arms = [_parse(entry) for entry in re.split(r",(?![^\[]*\])", text) if entry.strip()]
    twice = {arm.folder for arm in arms if [a.folder for a in arms].count(arm.folder) > 1}
    if twice:
        raise UsageError(
            f"--weighters lists {', '.join(sorted(twice))} twice.",
            "Name each once, or give them different options: NAME[key=value].",
        )
    others = [arm for arm in arms if arm.label != BASELINE]
    if not others:
        raise UsageError(
            f"--weighters names nothing to compare with {BASELINE}. Found {text!r}.",
            "For instance: --weighters equal,deepchest,uncertainty",
        )
    return Arm(BASELINE, BASELINE), *others


def joined(before: str, added: str) -> str:
    """Return a list of weighters with those of another that it lacks; as it is if it lacks none."""
    known = [arm.label for arm in parse_arms(before)]
    new = [arm.label for arm in parse_arms(added) if arm.label not in known]
    return ",".join([*known, *new]) if new else before


def _parse(entry: str) -> Arm:
    found = ENTRY.fullmatch(entry.strip())
    if found is None:
        raise UsageError(
            f"--weighters cannot read {entry!r}.", "Write NAME, or NAME[key=value,key=value]."
        )
    name, inside = found[1].strip(), found[2]
    options: list[str] = []
    for piece in (inside or "").split(","):
        if "=" in piece:
            options.append(piece.strip())
        elif options:  # a value may have commas of its own
            options[-1] += f",{piece}"
        elif piece:
            raise UsageError(f"--weighters {entry}: options are KEY=VALUE. Found {piece!r}.")
    keys = [option.partition("=")[0] for option in options]
    if len(set(keys)) < len(keys):
        raise UsageError(f"--weighters {entry}: an option is given twice. Found {keys}.")
    return Arm(f"{name}[{','.join(options)}]" if options else name, name, tuple(options))
