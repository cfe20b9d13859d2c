"""What the configurations of several commands share: how a field becomes a flag, and paths."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from deepchest_cli.errors import UsageError, unknown_name

NIH_SOURCE = Path("data/nih")
DEMO_SOURCE = Path("data/demo")
DEFAULT_DATA = Path("data/shards")
DEMO_DATA = Path("data/demo-shards")
DEFAULT_MODEL = Path("runs/latest")
RUN_CONFIG, RUN_ENVIRONMENT = "config.toml", "environment.json"  # in a run's folder
AUTO = Path("auto")  # of --resume: go on where there is something, begin where there is nothing

# of --weights, which takes the path of a file as well; auto: published ones where they can be had
AUTO_WEIGHTS, NONE, IMAGENET = "auto", "none", "imagenet"
PRETRAINED = (IMAGENET, "pretrained")  # one meaning: not all that is published is from ImageNet

PACKAGES = ("timm/", "hf/", "xrv/")  # what the name of a package's backbone begins with

Split = Literal["train", "validation", "test", "all"]
Format = Literal["table", "json", "csv"]


@dataclass(frozen=True)
class Flag:
    """How a field of a configuration appears on the command line and in its help."""

    help: str
    minimum: float | None = None
    maximum: float | None = None
    metavar: str | None = None
    positional: bool = False
    panel: str | None = None  # heading of this flag and of those after it; "": none any more
    # what it names has values of other flags; "out": only with --resume auto
    values_from: Literal["run", "out", "recipe"] | None = None


DataSets = Annotated[
    tuple[str, ...],
    Flag(
        "Folder of prepared shards; several are used together, and what one of them does not label "
        "is unknown there.",
        metavar="FOLDER",
    ),
]
Device = Annotated[str, Flag("auto, cpu, cuda, cuda:N or mps; only auto falls back to the CPU.")]
Seed = Annotated[
    int, Flag("Seed of everything that is drawn at random.", minimum=0, maximum=2**32 - 1)
]
Model = Annotated[Path, Flag("Run folder, checkpoint file or xrv/NAME.")]
ViewWeights = Annotated[
    tuple[str, ...],
    Flag(
        "Weight of a view in these means, such as lateral=0.5; may be repeated. [1]",
        metavar="VIEW=WEIGHT",
    ),
]
OwnBackbones = Annotated[
    tuple[str, ...],
    Flag(
        "Code of a model whose backbone is one of your own, which runs only where it is named; "
        "may be repeated.",
        metavar="FUNCTION",
    ),
]


def flags_of(config: type[Any]) -> Iterator[tuple[Field[Any], Any, Flag]]:
    """Yield each field that has a flag with its type and its flag, all with their headings.

    Those that are set most often, `config.FIRST`, come first and without a heading.
    """
    hints, panel, found = get_type_hints(config, include_extras=True), "", {}
    for field in fields(config):
        if get_origin(hints[field.name]) is not Annotated:
            continue  # recorded, not set by anybody
        kind, flag = get_args(hints[field.name])[:2]
        panel = panel if flag.panel is None else flag.panel
        found[field.name] = field, kind, replace(flag, panel=panel or None)
    for name in getattr(config, "FIRST", ()):
        field, kind, flag = found.pop(name)
        yield field, kind, replace(flag, panel=None)
    yield from found.values()


def help_of(kind: Any, flag: Flag, default: Any) -> str:
    """Return a flag's help: what it does, and in brackets which values it takes and its default.

    What stands in brackets in the flag's own help is the default that depends on something.
    """
    text, _, said = flag.help.removesuffix("]").partition(" [")
    if kind is bool or flag.positional:
        return f"{text} [default: on]" if default is True else text
    choices = choices_of(kind)
    values = f"{', '.join(choices[:-1])} or {choices[-1]}" if choices else range_of(flag)
    said = said or default_text(default).replace(",", ", ")  # a list may end its lines anywhere
    noted = [*filter(None, [values]), f"default: {said}"]
    return f"{text} [{'; '.join(noted)}]"


def default_text(default: Any) -> str:
    """Return a default as it would be given on the command line."""
    words = default if isinstance(default, tuple) else () if default in (None, "") else (default,)
    return " ".join(map(str, words)) or "none"


def range_of(flag: Flag) -> str:
    """Return the numbers that a flag takes, in words; empty where it takes all."""
    if flag.minimum is None:
        return ""
    if flag.maximum is None:
        return f"at least {flag.minimum:g}"
    return f"{flag.minimum:g} to {flag.maximum:.10g}"


def metavar_of(kind: Any, flag: Flag) -> str:
    """Return what stands for the value of a flag in its help; nothing for a switch."""
    if flag.metavar or kind is bool:
        return flag.metavar or ""
    if choices_of(kind):
        return "CHOICE"
    one = get_args(kind)[0] if get_origin(kind) is not None else kind  # of a union with None
    return {int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "PATH"}[one]


def names_code(weighters: str) -> bool:
    """Whether a weighter, or a list of them, names code of one's own: FILE.py:CLASS."""
    return ":" in re.sub(r"\[[^\]]*\]", "", weighters)  # values of options may have colons too


def is_own_backbone(name: str) -> bool:
    """Whether a backbone is code of one's own: FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION."""
    return ":" in name and not name.startswith(PACKAGES)


def code_in(values: Mapping[str, Any]) -> dict[str, str]:
    """Return those values of a run's or a comparison's configuration that name one's own code."""
    fields = {"weighter": names_code, "weighters": names_code, "backbone": is_own_backbone}
    texts = {key: str(values.get(key, "")) for key in fields}
    return {key: text for key, text in texts.items() if fields[key](text)}


def resume_line(command: str, folder: Path, values: Mapping[str, Any]) -> str:
    """Return the command that goes on in a folder whose configuration has these values.

    It names code of one's own, which runs only where it is named.
    """
    own = (f" {flag_of(field)} {quote(text)}" for field, text in code_in(values).items())
    return f"deepchest {command} --resume {quote(str(folder))}{''.join(own)}"


def flag_of(field: str) -> str:
    """Return how a field is written on the command line."""
    return f"--{field.replace('_', '-')}"


def command_line(command: str, config: Any) -> str:
    """Return a command with the flags of a configuration that are no defaults."""
    words, images = ["deepchest", command], list[str]()
    for field, kind, flag in flags_of(type(config)):
        value = getattr(config, field.name)
        if value == field.default:
            continue
        if flag.positional:
            images = [quote(str(one)) for one in value]
        elif kind is bool:
            words.append(flag_of(field.name if value else f"no_{field.name}"))
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [flag_of(field.name), quote(str(one))]
    if any(image.startswith("-") for image in images):
        return " ".join([*words, "--", *images])
    return " ".join([*words[:2], *images, *words[2:]])


def choices_of(kind: Any) -> tuple[str, ...]:
    """Return the values of a field that takes a few words only; nothing for any other."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((found for one in get_args(kind) if (found := choices_of(one))), ())


def refuse_unknown_device(name: str) -> None:
    """Raise `UsageError` for what is the name of no device anywhere; `gpu`, for instance."""
    if name == "auto" or re.fullmatch(r"cpu|mps|cuda(:[0-9]+)?", name):
        return
    unknown = unknown_name("device", name, ("auto", "cpu", "cuda", "cuda:N", "mps"))
    number = re.fullmatch(r"(?:gpu|cuda)?\W?([0-9]+)", name.lower())  # as other programs count
    if number:
        meant = f"Unknown device {name!r}. Did you mean 'cuda:{number[1]}'?"
        raise UsageError(meant, unknown.hint)
    raise unknown


def find_data(data: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return the folders of shards to use and a note: without the default one, the demo's."""
    if data == (str(DEFAULT_DATA),) and not DEFAULT_DATA.exists() and DEMO_DATA.exists():
        note = f"{DEFAULT_DATA} is not there; using the synthetic radiographs in {DEMO_DATA}."
        return (str(DEMO_DATA),), note
    return data, ""


def parse_assignment(text: str, flag: str) -> tuple[str, str]:
    """Split `key=value`, the form of every repeated option."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip() or not value.strip():
        raise UsageError(f"{flag} takes KEY=VALUE. Found {text!r}.")
    return key.strip().replace("-", "_"), value.strip()


def parse_assignments(texts: Iterable[str], flag: str) -> dict[str, str]:
    """Return the values of a repeated option by key; one key with two values is an error."""
    values: dict[str, str] = {}
    for text in texts:
        key, value = parse_assignment(text, flag)
        if values.setdefault(key, value) != value:
            raise UsageError(
                f"{flag} {key} is given twice: {values[key]!r} and {value!r}.", "Drop one of them."
            )
    return values
