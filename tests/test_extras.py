"""What a user is told to type for a package that is missing."""

import re
import shlex
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import deepchest_cli
from deepchest_cli import extras

METADATA = {
    "deepchest": [
        "numpy>=1",
        "torchjd[quick]<0.19,>=0.18; extra == 'gradient'",
        'old-kit; python_version < "3" and extra == "gradient"',
        'new-kit>=2; python_version >= "3" and extra == "gradient"',
        "pydicom>=3.0; extra == 'dicom'",
        "deepchest[dicom,gradient]; extra == 'all'",
    ],
    "torchjd": ["torch", "solver>=1; extra == 'quick'"],
}


@pytest.fixture
def installed(monkeypatch):
    """Let these packages, by name and version, be what is installed; {}: not even deepchest."""

    def install(**versions):
        def version(name):
            if name.replace("-", "_") not in versions:
                raise PackageNotFoundError(name)
            return versions[name.replace("-", "_")]

        def requires(name):
            version(name)
            return METADATA.get(name)

        monkeypatch.setattr(extras, "version", version)
        monkeypatch.setattr(extras, "requires", requires)

    return install


def test_both_ways_are_named_and_survive_a_shell(installed):
    installed(deepchest="0.1.0")
    hint = extras.install_hint("gradient")
    clone, elsewhere = hint.split("; elsewhere: ")
    assert clone == "In a clone of deepchest: pip install -e '.[gradient]'"
    pip, install, *requirements = shlex.split(elsewhere)
    assert (pip, install) == ("pip", "install")
    assert requirements == ["torchjd[quick]<0.19,>=0.18", "new-kit>=2"]


def test_an_extra_of_others_is_resolved(installed):
    installed(deepchest="0.1.0")
    names = [requirement.name for requirement in extras.requirements("all")]
    assert names == ["pydicom", "torchjd", "new-kit"]


def test_without_metadata_the_clone_is_left(installed):
    installed()
    assert extras.install_hint("dicom") == "In a clone of deepchest: pip install -e '.[dicom]'"


ALL = {"deepchest": "0.1.0", "torchjd": "0.18.1", "new_kit": "2.0rc1", "solver": "1.5"}


def test_what_is_installed_but_fails_is_to_be_installed_anew(installed):
    installed(**{**ALL, "new_kit": "2.1"})
    assert extras.install_hint("gradient") == (
        "Its packages are installed but fail: "
        "pip install --force-reinstall 'torchjd[quick]<0.19,>=0.18' 'new-kit>=2'"
    )


@pytest.mark.parametrize(
    "lacking", [{"torchjd": "0.19.0"}, {"torchjd": None}, {"solver": None}, {"new_kit": "1.9"}]
)
def test_what_is_there_in_part_or_in_another_version_is_installed(installed, lacking):
    there = {**ALL, "new_kit": "2.1", **lacking}
    installed(**{name: version for name, version in there.items() if version})
    assert "pip install -e '.[gradient]'; elsewhere: pip install" in extras.install_hint("gradient")


@pytest.mark.parametrize("extra", ["gradient", "dicom", "onnx", "tensorboard"])
def test_the_extras_that_messages_name_have_requirements(extra):
    found = extras.requirements(extra)
    assert found
    for requirement in found:
        assert requirement.specifier
        assert Requirement(str(requirement)) == requirement
        assert requirement.marker is None


def test_no_message_names_an_index_that_lacks_this_package():
    for path in Path(deepchest_cli.__file__).parent.rglob("*.py"):
        hints = re.findall(r"pip install[^`\n]*deepchest\[", path.read_text(encoding="utf-8"))
        assert path.name == "extras.py" or not hints, path
