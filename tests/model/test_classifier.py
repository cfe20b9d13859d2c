import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.model.heads import HEADS

FINDINGS = ("a", "b", "c")


@pytest.mark.parametrize("head", HEADS)
def test_every_head_stands_on_the_trunks_features(head):
    torch.manual_seed(0)
    classifier = Classifier(Architecture("small_cnn", head, FINDINGS, 32, 64)).eval()
    radiographs = torch.rand(4, 1, 32, 32)
    features, logits = classifier(radiographs)
    assert features.shape == (4, 512)
    assert torch.equal(features, classifier.trunk(radiographs))
    assert torch.equal(logits, classifier.head(features))
    assert logits.shape == (4, 3)


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
