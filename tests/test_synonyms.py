from typing import get_args

import pytest

from deepchest_cli.commands.arguments import forms_of
from deepchest_cli.commands.registry import COMMANDS
from deepchest_cli.config import RECIPES, refuse_unknown_device
from deepchest_cli.config.flags import Split
from deepchest_cli.config.synonyms import FLAGS, VALUES, nearest, plain, synonym
from deepchest_cli.data.sources.splitting import SCHEMES
from deepchest_cli.data.tabular.labels import DOUBTS, MIXES
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.evaluation.report import GATES
from deepchest_cli.model.backbones.registry import ALIASES, backbone_names, resolve_backbone
from deepchest_cli.prediction.image_prediction import RULES
from deepchest_cli.weighting import WEIGHTERS
from deepchest_cli.weighting.signals import SIGNALS

FORMS = {name: forms_of(info.configuration) for name, info in COMMANDS.items()}
NAMES = {
    *(choice for forms in FORMS.values() for form in forms.values() for choice in form.choices),
    *("auto", "cpu", "cuda", "mps", "none", "imagenet"),
    *(
        *WEIGHTERS,
        *GATES,
        *SIGNALS,
        *RULES,
        *RECIPES,
        *SCHEMES,
        *COMMANDS,
        *get_args(Split),
        *DOUBTS,
    ),
    *MIXES,
    *backbone_names(),
    *ALIASES,
}


def test_the_table_of_flags_leads_to_flags_that_exist():
    flags = {flag for forms in FORMS.values() for flag in forms}
    assert {ours.split()[0] for ours in FLAGS} <= flags


def test_a_value_that_a_flag_is_suggested_with_is_one_that_it_takes():
    for ours in FLAGS:
        flag, _, value = ours.partition(" ")
        choices = [form.choices for forms in FORMS.values() if (form := forms.get(flag))]
        if value and any(choices):
            assert any(value.split()[0] in some for some in choices), ours


def test_the_table_of_values_leads_to_names_that_exist():
    assert set(VALUES) <= NAMES


@pytest.mark.parametrize("table", [FLAGS, VALUES])
def test_no_word_stands_twice_beside_one_of_ours(table):
    for ours, others in table.items():
        words = [plain(word) for word in others.split()]
        assert len(set(words)) == len(words), ours


@pytest.mark.parametrize(
    ("given", "known", "meant"),
    [
        ("AdamW", ("adamw", "sgd"), "adamw"),
        ("adam", ("adamw", "sgd"), "adamw"),
        ("BCE", ("bce", "focal"), "bce"),
        ("float16", ("auto", "fp32", "bf16", "fp16"), "fp16"),
        ("bfloat16", ("auto", "fp32", "bf16", "fp16"), "bf16"),
        ("val", ("train", "validation", "test"), "validation"),
        ("gpu", ("auto", "device", "host", "none"), "device"),
        ("AUC", GATES, "auroc"),
        ("mAP", GATES, "average_precision"),
        ("UW", WEIGHTERS, "uncertainty"),
        ("NashMTL", WEIGHTERS, "nash-mtl"),
        ("uncertanty", WEIGHTERS, "uncertainty"),
        ("f1", RULES, "best_f1"),
        ("nonsense", WEIGHTERS, None),
    ],
)
def test_a_value_of_other_programs_is_answered_with_ours(given, known, meant):
    message = unknown_name("word", given, known).message
    assert message == f"Unknown word {given!r}." + (f" Did you mean {meant!r}?" if meant else "")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("resnet-50", "resnet50"),
        ("ResNet50", "resnet50"),
        ("vit_base_patch16_224", "vit_b_16"),
        ("EfficientNet-B0", "efficientnet_b0"),
        ("resent50", "resnet50"),
    ],
)
def test_a_backbone_of_another_library_is_answered_with_torchvisions(given, meant):
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        resolve_backbone(given)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("gpu", "cuda"),
        ("CUDA", "cuda"),
        ("cuda0", "cuda:0"),
        ("gpu:1", "cuda:1"),
        ("0", "cuda:0"),
        ("metal", "mps"),
    ],
)
def test_a_device_by_another_name_is_answered_with_ours(given, meant):
    with pytest.raises(UsageError, match=f"Unknown device '{given}'. Did you mean '{meant}'?"):
        refuse_unknown_device(given)


@pytest.mark.parametrize("given", ["auto", "cpu", "mps", "cuda", "cuda:11"])
def test_a_device_by_its_name_is_let_through(given):
    refuse_unknown_device(given)


def test_the_first_of_our_words_that_exists_is_meant():
    assert synonym("--checkpoint", ["--model", "--weights"], FLAGS) == "--model"
    assert synonym("--checkpoint", ["--weights"], FLAGS) == "--weights"
    assert synonym("--checkpoint", ["--epochs"], FLAGS) is None


def test_a_word_that_shares_few_letters_is_not_suggested():
    assert nearest("unet", ["resnet", "vgg"]) is None
    assert nearest("resnt", ["resnet", "vgg"]) == "resnet"
