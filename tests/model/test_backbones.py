import pytest
import torch
import torchvision

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.backbones import build_trunk

NAMES = ("resnet18", "resnet50", "densenet121", "mobilenet_v2")


@pytest.mark.parametrize("name", NAMES)
def test_trunks_map_one_channel_to_features(name):
    trunk, width = build_trunk(name, 64)
    assert trunk.eval()(torch.rand(2, 1, 64, 64)).shape == (2, width)


@pytest.mark.parametrize("name", NAMES)
def test_a_one_channel_stem_is_the_same_function_on_grey(name, tmp_path):
    """The whole network with three equal channels, against the trunk and the layer it lost."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    trunk, _ = build_trunk(name, 64, str(tmp_path / "weights.pth"))
    grey = torch.rand(2, 1, 64, 64)
    last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.inference_mode():
        expected = network(grey.expand(-1, 3, -1, -1))
        assert torch.allclose(last(trunk.eval()(grey)), expected, rtol=1e-3, atol=1e-4)


def test_a_misspelt_backbone_suggests_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'resnet50'"):
        build_trunk("resnet-50", 64)


def test_weights_of_another_architecture_name_the_keys(tmp_path):
    network = torchvision.models.mobilenet_v2(weights=None)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(DeepChestError, match=r"not those of resnet18 \(missing: conv1.weight"):
        build_trunk("resnet18", 64, str(tmp_path / "weights.pth"))


def test_weights_may_come_from_data_parallel(tmp_path):
    network = torchvision.models.resnet18(weights=None)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    trunk, _ = build_trunk("resnet18", 64, str(tmp_path / "weights.pth"))
    assert torch.equal(trunk.layer1[0].conv1.weight, network.layer1[0].conv1.weight)


def test_missing_weights(tmp_path):
    with pytest.raises(UsageError, match="no weights file"):
        build_trunk("resnet18", 64, str(tmp_path / "none.pth"))


def test_a_file_that_is_no_weights(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"nonsense")
    with pytest.raises(DeepChestError, match="no file of weights"):
        build_trunk("resnet18", 64, str(tmp_path / "weights.pth"))


def test_imagenet_weights_out_of_reach_say_how_to_go_on(monkeypatch):
    def offline(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(DeepChestError, match="could not be fetched") as error:
        build_trunk("resnet18", 64, "imagenet")
    assert "--weights PATH" in error.value.hint


def test_imagenet_weights_are_used_where_they_are(monkeypatch):
    state = torchvision.models.resnet18(weights=None).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: state)
    trunk, _ = build_trunk("resnet18", 64, "imagenet")
    assert torch.equal(trunk.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


@pytest.mark.parametrize(("name", "size"), [("vit_b_32", 64), ("inception_v3", 96), ("swin_t", 64)])
def test_other_families_train_as_well(name, size):
    trunk, width = build_trunk(name, size)
    features = trunk.train()(torch.rand(2, 1, size, size))
    assert features.shape == (2, width)
    features.sum().backward()


def test_a_size_that_patches_do_not_fit_is_refused():
    with pytest.raises(UsageError, match="vit_b_32 does not take radiographs of 50 px"):
        build_trunk("vit_b_32", 50)


def test_a_backbone_without_a_linear_layer_is_refused():
    with pytest.raises(UsageError, match="does not end in a linear layer"):
        build_trunk("squeezenet1_0", 64)
