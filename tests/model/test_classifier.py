import pytest
import torch
from torch import nn

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.model.heads import HEADS

FINDINGS = ("a", "b", "c")


@pytest.mark.parametrize("head", HEADS)
def test_features_are_the_last_that_all_findings_share(head):
    torch.manual_seed(0)
    classifier = Classifier(Architecture("small_cnn", head, FINDINGS, 32, 64)).eval()
    radiographs = torch.rand(4, 1, 32, 32)
    features, logits = classifier(radiographs)
    assert features.shape == (4, 512)
    of_trunk = classifier.trunk(radiographs)
    shared = classifier.head[0](of_trunk).relu() if head == "mlp" else of_trunk
    assert torch.equal(features, shared)
    assert torch.equal(logits, classifier.head(of_trunk))
    assert torch.equal(logits, classifier.task_layer(features))
    assert logits.shape == (4, 3)


@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_is_either_shared_or_a_findings_own(head):
    classifier = Classifier(Architecture("small_cnn", head, FINDINGS, 32, 64))
    own = list(classifier.task_layer.parameters())
    named = [*classifier.shared_parameters, *own]
    assert {id(p) for p in named} == {id(p) for p in classifier.parameters()}
    assert len(named) == len(list(classifier.parameters()))
    features, _ = classifier(torch.rand(4, 1, 32, 32))
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in classifier.shared_parameters)
    assert all(parameter.grad is None for parameter in own)


@pytest.mark.parametrize(
    ("backbone", "head", "shape"),
    [
        ("small_cnn", "linear", (512, 2048)),
        ("small_cnn", "mlp", (512, 512)),
        ("resnet18", "linear", (512, 512, 3, 3)),
        ("vgg11", "linear", (4096, 4096)),
    ],
)
def test_the_last_shared_layer_is_the_one_before_the_features(backbone, head, shape):
    classifier = Classifier(Architecture(backbone, head, FINDINGS, 32, 64))
    assert classifier.last_shared_layer.weight.shape == shape
    assert any(classifier.last_shared_layer.weight is p for p in classifier.shared_parameters)


def test_an_alias_is_kept_by_its_canonical_name():
    classifier = Classifier(Architecture("cnn", "linear", FINDINGS, 32, 64))
    assert classifier.architecture.backbone == "small_cnn"


def test_an_architecture_comes_back_from_plain_values():
    architecture = Architecture("small_cnn", "cross-stitch", FINDINGS, 32, 64, 0.4, 0.2)
    assert Architecture.from_plain(architecture.to_plain()) == architecture


def test_old_checkpoints_find_the_names_of_their_tensors():
    for head, keys in (
        ("linear", {"head.weight", "head.bias"}),
        ("mlp", {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}),
    ):
        classifier = Classifier(Architecture("small_cnn", head, FINDINGS, 32, 64))
        assert {k for k in classifier.state_dict() if not k.startswith("trunk.")} == keys


def test_an_unknown_head_is_refused():
    with pytest.raises(UsageError, match="Unknown head 'linaer'. Did you mean 'linear'"):
        Classifier(Architecture("small_cnn", "linaer", FINDINGS, 32, 64))


@pytest.mark.parametrize("head", HEADS)
def test_dropout_acts_on_the_features_that_the_last_layer_sees_and_only_in_training(head):
    torch.manual_seed(0)
    architecture = Architecture("small_cnn", head, FINDINGS, 32, 64)
    plain, dropping = Classifier(architecture), Classifier(architecture, dropout=0.5)
    dropping.load_state_dict(plain.state_dict())
    radiographs = torch.rand(64, 1, 32, 32)
    expected, _ = plain(radiographs)
    features, logits = dropping(radiographs)
    kept = features != 0
    assert torch.allclose(features[kept], 2 * expected[kept])
    alive = expected != 0
    assert kept[alive].float().mean() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(logits, dropping.task_layer(features))
    assert all(
        torch.equal(one, other)
        for one, other in zip(dropping.eval()(radiographs), plain.eval()(radiographs), strict=True)
    )


def test_features_of_another_width_than_before_are_an_error_and_not_a_traceback():
    classifier = Classifier(Architecture("small_cnn", "linear", FINDINGS, 32, 64))
    classifier.trunk.append(nn.Linear(512, 4))
    with pytest.raises(DeepChestError, match=r"shape \(2, 4\) for 2 radiographs, and not features"):
        classifier(torch.zeros(2, 1, 32, 32))
