"""Write what follows from the catalog, the docstrings and the configurations.

These are docs/weighters.md, docs/cli.md, and the types of the library's keywords.

python docs/generate.py            write all of them
python docs/generate.py --check    exit with 1 where a page is not current
"""

import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import MISSING
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from deepchest_cli.commands.binding import PRESENTATION
from deepchest_cli.commands.registry import COMMANDS
from deepchest_cli.config import (
    CompareConfig,
    EvaluateConfig,
    Flag,
    PredictConfig,
    PrepareConfig,
    TrainConfig,
    choices_of,
    flag_of,
    flags_of,
)
from deepchest_cli.config.flags import metavar_of, range_of
from deepchest_cli.library.keywords import ARGUMENTS, COMMAND_ONLY
from deepchest_cli.weighting import WEIGHTERS, WeighterInfo
from deepchest_cli.weighting.documentation import blocks_of

FOLDER = Path(__file__).parent
WIDE = 75  # characters of a type in a line
# keywords that a command reads as text, and that may be a number or several values
TEXTS = ("devices", "findings", "freeze", "label_columns", "size", "threshold")
FUNCTIONS = {
    "TrainOptions": ("train", TrainConfig),
    "EvaluateOptions": ("evaluate", EvaluateConfig),
    "CompareOptions": ("compare", CompareConfig),
    "PredictOptions": ("predict", PredictConfig),
    "PrepareOptions": ("prepare", PrepareConfig),
}
NOTICE = "<!-- Written by docs/generate.py: change the sources and run it again. -->"

WEIGHTERS_INTRODUCTION = """\
How `deepchest train --weighter NAME` weights the findings' losses, and what `deepchest
compare-weighters` compares. In the formulas `L_i` is the mean loss of task (finding) i over the
batch's known labels, `w_i` its weight, `T` the number of tasks and `g_i` the gradient of `L_i` by
what all tasks share. A task without a known label in a batch does not count in that step.

- Options are given as `--weighter-option key=value`, once for each.
- `deepchest+NAME` applies NAME to the losses times DeepChest's weights; DeepChest's own options
  then begin with `deepchest.`, as in `--weighter-option deepchest.cap=2`.
- Weighters of the kind *gradient* take gradients at the last shared features, or with
  `--gradient-level parameters` at all shared parameters: then a step takes T backward passes, and
  each of the T gradients is as large as the model.
- Their solvers run on the CPU: a step waits for a GPU once, for the products of the gradients.
  `graddrop` waits once too, to draw only for finite gradients; `excess-mtl` and `gradnorm` do not.
- Weighters of the kind *loss* never wait for a GPU in a step. `deepchest` waits once in an update
  by a signal that is measured on logits; it and `dtp` wait once at an epoch's end, for their notes.
- On Metal, which has no double precision, weights are in single precision.
- Memory is what a weighter needs beyond equal weighting.
- `FILE.py:CLASS` is [a weighter of your own](comparing.md#a-weighter-of-your-own).
"""
CLI_INTRODUCTION = """\
Every command with its flags. `deepchest COMMAND --help` shows the same. The command line wins over
`--config FILE.toml`, that over `--recipe`, and that over the defaults.
"""


def pages() -> dict[Path, str]:
    """Return the generated pages by their paths."""
    options = FOLDER.parent / "deepchest_cli" / "library" / "options.py"
    return {
        FOLDER / "weighters.md": weighters_page(),
        FOLDER / "cli.md": cli_page(),
        options: options_module(),
    }


def weighters_page() -> str:
    """Return one entry for each weighter: formula, cost, options, paper."""
    header = ("Weighter", "Kind", "Passes of a step", "Memory", "Paper")
    rows = [
        (f"[`{info.name}`](#{info.name})", info.kind, info.passes, info.memory, info.paper)
        for info in WEIGHTERS.values()
    ]
    entries = [_weighter(info) for info in WEIGHTERS.values()]
    return _page("Weighters", WEIGHTERS_INTRODUCTION, _table(header, rows), *entries)


def _weighter(info: WeighterInfo) -> str:
    documentation, options = info.documentation, dict(info.options)
    blocks = [f"## {info.name}", f"*{info.summary[0].upper()}{info.summary[1:]}.*"]
    blocks.append(_markdown(documentation.formula))
    if info.preset_of:
        options = dict(info.own_options)
        like = f"[`{info.preset_of}`](#{info.preset_of})"
        blocks.append(f"Options are those of {like}, with these defaults:")
    elif documentation.details.rstrip(".").lower() != info.summary.lower():
        blocks.append(_markdown(documentation.details))
    if options:
        rows = [
            (f"`{key}`", f"`{_plain(value)}`", documentation.meanings[key])
            for key, value in options.items()
        ]
        blocks.append(_table(("Option", "Default", "Meaning"), rows))
    cost = f"Cost: {info.passes}; memory: {info.memory}. Kind: {info.kind}. Source: {info.paper}."
    return "\n\n".join([*blocks, cost])


def cli_page() -> str:
    """Return every command with its examples and flags."""
    common = [
        ("`--config`", "FILE.toml", "–", "File of flags as keys; the command line wins."),
        *((f"`--{name}`", "", "off", text) for name, text in PRESENTATION),
        ("`--help`, `-h`", "", "off", "Show the flags of the command."),
    ]
    header = ("Flag", "Value", "Default", "Description")
    commands = [
        _command(name, info.configuration, info.run, header) for name, info in COMMANDS.items()
    ]
    shared = f"## Flags of every command\n\n{_table(header, common)}"
    return _page("Command line", CLI_INTRODUCTION, shared, *commands)


def _command(name: str, config: type[Any], run: Any, header: Sequence[str]) -> str:
    panels: dict[str, list[tuple[str, ...]]] = {}
    for field, kind, flag in flags_of(config):
        text, default = flag.help, _default(field.default)
        if noted := re.fullmatch(r"(.*?) \[(.*)\]", text):
            text, default = noted[1], noted[2]
        row = (_name(field.name, kind, flag, field.default), _value(kind, flag))
        panels.setdefault(flag.panel or "Options", []).append((*row, default, text))
    tables = [f"**{panel}**\n\n{_table(header, rows)}" for panel, rows in panels.items()]
    text, _, examples = (inspect.getdoc(run) or "").partition("Examples:")
    blocks = [f"## deepchest {name}", _markdown(text)]
    if examples:
        lines = re.sub(r"\n\n+", "\n", examples.strip())
        blocks.append(f"```bash\n{lines}\n```")
    return "\n\n".join([*blocks, *tables])


def _name(field: str, kind: Any, flag: Flag, default: Any) -> str:
    if flag.positional:
        return f"`{flag.metavar or 'IMAGE'}...`"
    other = f", `{flag_of(f'no_{field}')}`" if kind is bool and default else ""
    return f"`{flag_of(field)}`{other}"


def _value(kind: Any, flag: Any) -> str:
    if flag.positional:
        return ""
    values = ", ".join(choices_of(kind)) or range_of(flag)
    word = metavar_of(kind, flag)
    return values if choices_of(kind) else ", ".join(filter(None, [word, values]))


def options_module() -> str:
    """Return the module with the keywords of each function and their types."""
    imports = """from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Literal, TypedDict

AnyPath = str | PathLike[str]
Text = str | float | Iterable[str] | Iterable[float]  # several are separated by commas
Several = AnyPath | Iterable[AnyPath] | Mapping[str, object]
"""
    parts = [
        '"""The keywords of each function: the flags of its command, without its arguments."""'
    ]
    parts[0] += f"\n\n# {NOTICE.removeprefix('<!-- ').removesuffix(' -->')}\n\n{imports.rstrip()}"
    for name, (function, config) in FUNCTIONS.items():
        lines = [
            f"    {field.name}: {_type(field.name, kind, flag)}"
            for field, kind, flag in sorted(flags_of(config), key=lambda one: one[0].name)
            if field.name not in (*ARGUMENTS[function], *COMMAND_ONLY[function])
        ]
        head = f'class {name}(TypedDict, total=False):\n    """The keywords of `{function}`."""\n'
        parts.append("\n".join([head, *lines, "    config: AnyPath | None"]))
    return "\n\n\n".join(parts) + "\n"


def _type(name: str, kind: Any, flag: Flag) -> str:
    """Return the type of a keyword: paths may be text, and one may stand for several."""
    if get_origin(kind) is tuple:
        return "Several"
    if choices := choices_of(kind):
        words = [f'"{one}"' for one in choices]
        text = f"Literal[{', '.join(words)}]"
        if len(text) > WIDE:
            text = "".join(["Literal[\n", *(f"        {word},\n" for word in words), "    ]"])
        return text + (" | None" if type(None) in get_args(kind) else "")
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    takes_path = Path in kinds or "PATH" in (flag.metavar or "")
    if name in TEXTS:
        return "Text | None" if type(None) in kinds else "Text"
    names = ["AnyPath" if takes_path and one in (Path, str) else one.__name__ for one in kinds]
    return " | ".join("None" if name == "NoneType" else name for name in dict.fromkeys(names))


def _default(value: Any) -> str:
    if value is MISSING or value is None or value == ():
        return "–"
    return ("on" if value else "off") if isinstance(value, bool) else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return '""' if value == "" else str(value)


def _markdown(doc: str) -> str:
    """Return a docstring with its formulas as code blocks, and its text as paragraphs."""
    return "\n\n".join(
        f"```text\n{text}\n```" if is_formula else text for is_formula, text in blocks_of(doc)
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("<", "\\<") for cell in line) + " |"
        for line in lines
    )


def _page(title: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", NOTICE, *(block.strip() for block in blocks)]) + "\n"


def main() -> None:
    """Write the pages, or with --check exit with 1 where one is not current."""
    stale = {
        path: text
        for path, text in pages().items()
        if not path.exists() or path.read_text("utf-8") != text
    }
    if "--check" in sys.argv[1:]:
        names = ", ".join(path.relative_to(FOLDER.parent).as_posix() for path in stale)
        sys.exit(f"Not current: {names}. Run: python docs/generate.py" if stale else 0)
    for path, text in stale.items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
