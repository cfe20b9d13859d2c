"""The commands that install what an extra of this package needs.

`deepchest` is on no package index: `pip install 'deepchest[onnx]'` finds nothing. In a clone
`pip install -e '.[onnx]'` does it; anywhere else the extra's requirements are named, as the
package's own metadata have them.
"""

import shlex
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "deepchest"


def install_hint(extra: str) -> str:
    """Return the commands that install an extra: in a clone of the repository, and elsewhere.

    Where all that it needs is installed already, `pip install` would do nothing: the packages are
    to be installed anew then. Without metadata the program runs from a clone.
    """
    clone = f"In a clone of {PACKAGE}: pip install -e '.[{extra}]'"
    wanted = requirements(extra)
    if not wanted:
        return clone
    names = " ".join(shlex.quote(str(requirement)) for requirement in wanted)
    if all(_is_met(requirement) for requirement in wanted):
        return f"Its packages are installed but fail: pip install --force-reinstall {names}"
    return f"{clone}; elsewhere: pip install {names}"


def requirements(extra: str) -> list["Requirement"]:
    """Return what an extra needs here, without markers; nothing where there are no metadata."""
    return list(_requirements(PACKAGE, extra))


def _requirements(package: str, extra: str) -> Iterator["Requirement"]:
    from packaging.requirements import Requirement

    try:
        texts = requires(package) or []
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, texts):
        marker, requirement.marker = requirement.marker, None
        if marker is None or not marker.evaluate({"extra": extra}):
            continue  # what every installation has, and what is of other extras
        if requirement.name == PACKAGE:  # an extra that is made of others
            for part in sorted(requirement.extras):
                yield from _requirements(PACKAGE, part)
        else:
            yield requirement


def _is_met(requirement: "Requirement") -> bool:
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return False
    return requirement.specifier.contains(found, prereleases=True) and all(
        _is_met(inner)
        for part in requirement.extras
        for inner in _requirements(requirement.name, part)
    )
