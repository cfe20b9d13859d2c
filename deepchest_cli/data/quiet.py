"""Libraries whose warnings tell of files: what matters in them is looked for by ourselves."""

import re
import warnings


def silence(package: str) -> None:
    """Keep the warnings that a package's own modules raise off the terminal.

    They name paths of the environment, once a process, and not the file. A filter for the package
    is set where it is called, because `warnings.catch_warnings` is not safe while threads decode.
    """
    pattern = rf"{re.escape(package)}(\.|$)"
    if ("ignore", None, Warning, re.compile(pattern), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=pattern)
