import argparse
import re

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer
from trunk_shapes import trunk_of

from deepchest_cli.data.augmentation import Normalization
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.backbones.base import BackboneSpec
from deepchest_cli.model.backbones.registry import backbone_names, source_of
from deepchest_cli.model.checkpoint import save_checkpoint
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.model.weights import (
    copy_state,
    current_names,
    find_state,
    fingerprint,
    load_weights,
    read_weights,
    refuse_other_keys,
)

MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, by color


def network(name="resnet18", **settings):
    return torchvision.models.get_model(name, weights=None, **settings)


@pytest.fixture
def saved(tmp_path):
    """Save a state dict and return its path."""

    def save(state):
        torch.save(state, tmp_path / "weights.pth")
        return str(tmp_path / "weights.pth")

    return save


@pytest.fixture
def online(monkeypatch):
    """Answer torchvision's requests for weights with a state dict."""

    def answer(state):
        fetch = "torchvision.models._api.load_state_dict_from_url"
        monkeypatch.setattr(fetch, lambda *_, **__: state)

    return answer


@pytest.fixture
def checkpoint(tmp_path):
    """Save a checkpoint of a backbone and return its path and its classifier."""

    def save(backbone, size=32):
        classifier = Classifier(Architecture(backbone, "linear", ("a", "b"), size, 64))
        save_checkpoint(tmp_path / "best.pt", classifier, {})
        return str(tmp_path / "best.pt"), classifier

    return save


def small_vit(size):
    """Return torchvision's ViT with little in it, and a stem of one channel."""
    vit = VisionTransformer(size, 32, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)
    vit.conv_proj, vit.heads = nn.Conv2d(1, 8, kernel_size=32, stride=32), nn.Identity()
    return vit


def load(trunk, weights):
    """Load a file of weights into a network that stands for vit_b_32."""
    spec, source = BackboneSpec("vit_b_32", trunk.image_size), source_of("vit_b_32")
    load_weights(trunk, spec, read_weights(spec, weights, source), source)


def last(whole):
    return [m for m in whole.modules() if isinstance(m, nn.Linear)][-1]


def test_a_saved_network_is_the_same_function_on_gray(saved):
    whole = network().eval()
    trunk, _ = trunk_of("resnet18", 64, saved(whole.state_dict()))
    gray = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        expected = whole(gray.expand(-1, 3, -1, -1))
        assert torch.allclose(last(whole)(trunk.eval()(gray)), expected, rtol=1e-3, atol=1e-4)


def test_a_stem_of_one_channel_is_taken_as_it_is(saved):
    state = network().state_dict()
    state["conv1.weight"] = torch.rand(64, 1, 7, 7)
    trunk, _ = trunk_of("resnet18", 64, saved(state))
    assert torch.equal(trunk.conv1.weight, state["conv1.weight"])


def test_a_stem_of_four_channels_is_refused_with_both_shapes(saved):
    state = {**network().state_dict(), "conv1.weight": torch.rand(64, 4, 7, 7)}
    with pytest.raises(DeepChestError) as error:
        trunk_of("resnet18", 64, saved(state))
    assert "conv1.weight is (64, 4, 7, 7) and not (64, 1, 7, 7)" in error.value.message
    assert "one input channel or three" in error.value.hint


@pytest.mark.parametrize("classes", [14, None])
def test_the_layer_for_other_classes_is_not_wanted(classes, saved):
    state = network(num_classes=classes or 1000).state_dict()
    kept = {k: v for k, v in state.items() if classes or not k.startswith("fc.")}
    trunk, _ = trunk_of("resnet18", 64, saved(kept))
    assert torch.equal(trunk.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_weights_of_another_architecture_name_the_keys(saved):
    path = saved(network("mobilenet_v2").state_dict())
    with pytest.raises(
        DeepChestError, match=r"of its 100 tensors fit \(missing: conv1.weight"
    ) as e:
        trunk_of("resnet18", 64, path)
    assert "unknown: features.0.0.weight" in e.value.message
    assert path in e.value.message


def test_weights_of_a_wider_network_name_the_shapes(saved):
    path = saved(network("shufflenet_v2_x1_0").state_dict())
    with pytest.raises(DeepChestError) as error:
        trunk_of("shufflenet_v2_x0_5", 64, path)
    shapes = "stage2.0.branch1.2.weight is (58, 24, 1, 1) and not (24, 24, 1, 1)"
    assert shapes in error.value.message


def test_refused_weights_name_a_few_keys_only(saved):
    with pytest.raises(DeepChestError, match=r"missing: \S+, \S+, \S+ \.\.\.;") as error:
        trunk_of("resnet18", 64, saved({"step": torch.ones(1)}))
    assert len(error.value.message) < 400


def test_weights_may_come_from_a_compiled_module_of_lightning(saved):
    state = network().state_dict()
    inside = {f"model._orig_mod.{key}": value for key, value in state.items()}
    kept = {"state_dict": {**inside, "loss_fn.pos_weight": torch.ones(14)}, "epoch": 3}
    trunk, _ = trunk_of("resnet18", 64, saved(kept))
    assert torch.equal(trunk.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


def test_refused_weights_say_how_many_fit(saved):
    state = network("resnet34").state_dict()
    with pytest.raises(DeepChestError, match="of resnet18: 100 of its 100 tensors fit") as error:
        trunk_of("resnet18", 64, saved({"state_dict": state}))
    assert "unknown: layer1.2.conv1.weight" in error.value.message
    with pytest.raises(DeepChestError, match="of resnet18: 0 of its 100 tensors fit") as error:
        trunk_of(
            "resnet18", 64, saved({"step": torch.ones(1), "model": small_vit(64).state_dict()})
        )
    assert "unknown: class_token" in error.value.message


def test_missing_weights(tmp_path):
    with pytest.raises(UsageError, match="no weights file") as error:
        trunk_of("resnet18", 64, str(tmp_path / "resnet18.pth"))
    assert "path of a run or a file" in error.value.hint


def test_a_folder_without_weights_is_said_to_be_one(tmp_path):
    with pytest.raises(UsageError, match="The folder .* holds no weights") as error:
        trunk_of("resnet18", 64, str(tmp_path))
    assert "best.pt" in error.value.hint


@pytest.mark.parametrize(("given", "meant"), [("ImageNet", "imagenet"), ("image-net", "imagenet")])
def test_a_word_for_imagenet_is_answered_with_ours(given, meant):
    with pytest.raises(UsageError, match=f"no weights file {given}. Did you mean '{meant}'?"):
        trunk_of("resnet18", 64, given)


@pytest.mark.parametrize("content", [b"nonsense", b"", b"PK\x03\x04", b"<!DOCTYPE html>"])
def test_a_file_that_is_no_weights(tmp_path, content):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(DeepChestError, match="is no file of weights, or is damaged") as error:
        trunk_of("resnet18", 64, str(tmp_path / "weights.pth"))
    assert "weights_only" not in error.value.message


def test_a_file_without_tensors_by_name(saved):
    with pytest.raises(DeepChestError, match="holds no tensors by name") as error:
        trunk_of("resnet18", 64, saved({"epoch": 3, "history": [torch.ones(1)]}))
    assert "model.state_dict()" in error.value.hint


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"state_dict": {}, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        ({"best": np.float64(0.5)}, f"{np.float64(0.5).__reduce__()[0].__module__}.scalar"),
        (nn.LSTM(2, 2), "torch.nn.modules.rnn.LSTM"),  # not among the modules that are read
    ],
)
def test_a_file_with_more_than_tensors_is_not_loaded(saved, content, named):
    with pytest.raises(DeepChestError, match=re.escape(f"more than tensors ({named})")) as error:
        trunk_of("resnet18", 64, saved(content))
    assert "model.state_dict()" in error.value.hint


def test_code_in_a_file_is_not_run(tmp_path, saved):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    with pytest.raises(DeepChestError, match="could run code"):
        trunk_of("resnet18", 64, saved({"state_dict": Harmful()}))
    assert not (tmp_path / "owned").exists()


def test_a_git_lfs_pointer_is_called_by_its_name(tmp_path):
    (tmp_path / "lfs.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UsageError, match="Git LFS pointer"):
        trunk_of("resnet18", 64, str(tmp_path / "lfs.pth"))


@pytest.mark.parametrize("name", ["model.safetensors", "weights.bin"])
def test_safetensors_are_read_whatever_the_file_is_called(tmp_path, name):
    state = network().state_dict()
    save_file(state, tmp_path / name)
    trunk, _ = trunk_of("resnet18", 64, str(tmp_path / name))
    assert torch.equal(trunk.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


def test_the_safetensors_of_a_folder_are_found(tmp_path):
    state = network().state_dict()
    save_file(state, tmp_path / "model.safetensors")
    trunk, _ = trunk_of("resnet18", 64, str(tmp_path))
    assert torch.equal(trunk.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


def test_safetensors_that_are_cut_short_are_refused(tmp_path):
    save_file({"conv1.weight": torch.rand(64, 3, 7, 7)}, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(DeepChestError, match="is no file of weights, or is damaged"):
        trunk_of("resnet18", 64, str(tmp_path / "model.safetensors"))


def test_the_trunk_of_a_checkpoint_is_taken(checkpoint):
    path, classifier = checkpoint("resnet18")
    trunk, _ = trunk_of("resnet18", 64, path)
    expected = classifier.trunk.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in trunk.state_dict().items())


def test_a_checkpoint_of_another_backbone_is_refused_by_name(checkpoint):
    path, _ = checkpoint("mobilenet_v2")
    with pytest.raises(UsageError, match="is of the backbone mobilenet_v2, not of resnet18") as e:
        trunk_of("resnet18", 64, path)
    assert "--backbone mobilenet_v2" in e.value.hint


def test_a_checkpoint_of_another_format_version_is_refused(checkpoint):
    path, _ = checkpoint("small_cnn")
    torch.save({**torch.load(path), "format_version": 99}, path)
    with pytest.raises(DeepChestError, match="format version 99"):
        trunk_of("small_cnn", 32, path)


def test_a_small_cnn_for_another_size_is_refused_with_both_shapes(checkpoint):
    path, _ = checkpoint("small_cnn", 32)
    with pytest.raises(DeepChestError, match=r"is \(512, 2048\) and not \(512, 8192\)"):
        trunk_of("small_cnn", 64, path)


def test_position_embeddings_are_resampled_from_another_size(saved):
    """From 2 x 2 patches to 4 x 4, whose corners stay what they were."""
    trained, trunk = small_vit(64), small_vit(128)
    load(trunk, saved(trained.state_dict()))
    old, new = (m.encoder.pos_embedding[0].detach() for m in (trained, trunk))
    assert torch.equal(new[0], old[0])  # the class token has no place
    grid = new[1:].reshape(4, 4, -1)
    assert torch.allclose(grid[[0, 0, -1, -1], [0, -1, 0, -1]], old[1:], atol=1e-6)
    assert not torch.allclose(grid[1, 1], grid[0, 0], atol=1e-3)
    assert torch.equal(trunk.conv_proj.weight, trained.conv_proj.weight)


def test_position_embeddings_for_the_same_size_are_left_alone(saved):
    trained, trunk = small_vit(64), small_vit(64)
    load(trunk, saved(trained.state_dict()))
    assert torch.equal(trunk.encoder.pos_embedding, trained.encoder.pos_embedding)


def test_position_embeddings_of_no_square_are_refused_with_both_shapes(saved):
    state = small_vit(64).state_dict()
    state["encoder.pos_embedding"] = torch.rand(1, 7, 8)
    with pytest.raises(DeepChestError, match=r"is \(1, 7, 8\) and not \(1, 5, 8\)"):
        load(small_vit(64), saved(state))


def test_imagenet_weights_out_of_reach_say_how_to_go_on(monkeypatch):
    def offline(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(DeepChestError, match="could not be fetched") as error:
        trunk_of("resnet18", 64, "imagenet")
    assert "--weights PATH" in error.value.hint


def test_imagenet_weights_are_used_where_they_are(online):
    state = network().state_dict()
    online(state)
    trunk, _ = trunk_of("resnet18", 64, "imagenet")
    assert torch.equal(trunk.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


def test_every_torchvision_backbone_has_imagenet_weights():
    for name in backbone_names():
        if name != "small_cnn":
            best = torchvision.models.get_model_weights(name).DEFAULT
            assert best.url.startswith("https://")


def test_a_small_cnn_has_no_imagenet_weights():
    with pytest.raises(UsageError, match="small_cnn has no published weights") as error:
        trunk_of("small_cnn", 64, "imagenet")
    assert "--weights none" in error.value.hint


def test_a_networks_weights_do_without_its_version(online):
    """MNASNet's own loading asks for it, and a plain dictionary has none."""
    state = dict(network("mnasnet0_5").state_dict())
    online(state)
    trunk, _ = trunk_of("mnasnet0_5", 32, "imagenet")
    assert torch.equal(trunk.layers[3].weight, state["layers.3.weight"])


def test_googlenet_sees_gray_as_its_imagenet_weights_do(online):
    """Against torchvision's own rescaling of ImageNet's normalized colors."""
    torch.manual_seed(0)
    whole = network("googlenet", transform_input=True, init_weights=True).eval()
    online(whole.state_dict())  # with its auxiliary classifiers
    trunk, _ = trunk_of("googlenet", 64, "imagenet")
    gray, ours = torch.rand(2, 1, 64, 64), Normalization()
    colors = torchvision.transforms.functional.normalize(
        gray.expand(-1, 3, -1, -1), MEANS, DEVIATIONS
    )
    with torch.inference_mode():
        found = whole.fc(trunk.eval()((gray - ours.mean) / ours.std))
        assert torch.allclose(found, whole(colors), rtol=1e-3, atol=1e-5)


def test_names_of_older_densenets_are_brought_up_to_date():
    with torch.device("meta"):
        state = torchvision.models.densenet121(weights=None).state_dict()
    older = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value
        for key, value in state.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    assert list(current_names(older)) == list(state)


def test_names_of_older_vits_are_brought_up_to_date():
    with torch.device("meta"):
        state = torchvision.models.vit_b_32(weights=None).state_dict()
    older = {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): value
        for key, value in state.items()
    }
    assert "encoder.layers.encoder_layer_0.mlp.linear_2.bias" in older
    assert list(current_names(older)) == list(state)


@pytest.mark.parametrize(
    "name", ["densenet121", "convnext_tiny", "efficientnet_b0", "maxvit_t", "swin_v2_t", "vit_b_32"]
)
def test_names_of_today_are_left_alone(name):
    with torch.device("meta"):
        state = torchvision.models.get_model(name, weights=None).state_dict()
    assert list(current_names(state)) == list(state)


STATE = {
    name: torch.tensor(float(number))
    for number, name in enumerate(
        ["conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer1.1.conv1.weight", "fc.bias"]
    )
}


def behind(prefix, state):
    return {prefix + key: value for key, value in state.items()}


WRAPPED = {
    "DataParallel": lambda s: behind("module.", s),
    "torch.compile": lambda s: behind("_orig_mod.", s),
    "both": lambda s: behind("module._orig_mod.", s),
    "both, the other way": lambda s: behind("_orig_mod.module.", s),
    "a compiled part": lambda s: {
        k.replace("layer1.", "layer1._orig_mod."): v for k, v in s.items()
    },
    "a parallel part": lambda s: {k.replace("layer1.", "layer1.module."): v for k, v in s.items()},
    "FSDP": lambda s: behind("_fsdp_wrapped_module.", s),
    "state_dict": lambda s: {
        "state_dict": s,
        "epoch": 3,
        "optimizer": {"state": {0: s["bn1.bias"]}},
    },
    "Lightning": lambda s: {
        "state_dict": {**behind("model.", s), "loss_fn.pos_weight": torch.ones(14)},
        "pytorch-lightning_version": "2.4.0",
        "hyper_parameters": {"lr": 0.1},
        "callbacks": {},
    },
    "a compiled Lightning module": lambda s: {"state_dict": behind("model._orig_mod.", s)},
    "a named backbone": lambda s: {**behind("backbone.", s), "head.weight": torch.ones(14, 512)},
    "an encoder": lambda s: {"model": {**behind("encoder.", s), "projector.0.bias": torch.ones(3)}},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {}}},
    "net": lambda s: {"net": behind("module.", s), "acc": 0.9},
    "nested": lambda s: {"checkpoint": {"model": {"state_dict": s}}},
    "a running average": lambda s: {"n_averaged": torch.tensor(3), **behind("module.", s)},
    "MoCo": lambda s: {
        "state_dict": {**behind("module.encoder_q.", s), "module.queue": torch.ones(128, 9)}
    },
    "DINO": lambda s: {"student": behind("module.backbone.", s), "teacher": behind("backbone.", s)},
}


@pytest.mark.parametrize("program", WRAPPED)
def test_tensors_are_found_in_what_other_programs_save(program):
    assert find_state(WRAPPED[program](STATE), STATE) == STATE


@pytest.mark.parametrize("place", ["state_dict_ema", "model_ema", "ema"])
def test_averaged_weights_are_taken_before_others(place):
    averaged = {name: value + 1 for name, value in STATE.items()}
    assert find_state({"state_dict": STATE, place: averaged}, STATE) == averaged


def test_what_fits_most_is_taken():
    half = dict(list(STATE.items())[:3])
    assert find_state({"state_dict_ema": half, "state_dict": STATE}, STATE) == STATE


def test_other_tensors_of_the_same_network_are_kept_to_be_refused():
    deeper = {**STATE, "layer1.2.conv1.weight": torch.zeros(1)}
    assert find_state({"state_dict": behind("module.", deeper)}, STATE) == deeper


@pytest.mark.parametrize("content", [{}, {"a": 1}, [STATE], None, {"state": {0: torch.ones(1)}}])
def test_nothing_is_found_where_no_tensor_has_a_name(content):
    assert find_state(content, STATE) == {}


def test_weights_of_a_chexnet_reproduction_are_found():
    """From DataParallel around a module that holds the network, by torchvision 0.2's names."""
    with torch.device("meta"):
        state = torchvision.models.densenet121(weights=None).state_dict()
    older = {
        "module.densenet121."
        + re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value
        for key, value in state.items()
        if "num_batches" not in key
    }
    found = find_state({"epoch": 1, "state_dict": older}, state)
    assert set(state) - set(found) == {key for key in state if "num_batches" in key}


def test_counters_of_batches_may_be_absent():
    network = nn.BatchNorm2d(2)
    network.num_batches_tracked.fill_(5)
    state = {k: v + 1 for k, v in network.state_dict().items() if "num" not in k}
    refuse_other_keys(network.state_dict(), state, "here", "norm")
    copy_state(network, state)
    assert network.running_mean.tolist() == [1, 1]
    assert network.num_batches_tracked == 5


def test_missing_unknown_and_misshapen_tensors_are_told_together():
    wanted = {"a": torch.ones(2), "b": torch.ones(3)}
    found = {"b": torch.ones(4), "c": torch.ones(1)}
    details = "missing: a; unknown: c; other shape: b is (4,) and not (3,)"
    with pytest.raises(DeepChestError, match=re.escape(details)):
        refuse_other_keys(wanted, found, "weights.pth", "resnet18")


def test_copying_keeps_the_networks_precision():
    network = nn.Linear(2, 1)
    copy_state(network, {"weight": torch.ones(1, 2, dtype=torch.float16)})
    assert network.weight.dtype == torch.float32
    assert network.weight.tolist() == [[1, 1]]
    assert network.weight.requires_grad


def test_a_fingerprint_is_of_names_and_values_and_of_nothing_else():
    weight = torch.arange(24.0).reshape(1, 2, 3, 4)
    plain = fingerprint({"a": weight, "count": torch.tensor(3)})
    assert plain == fingerprint(
        {"a": weight.to(memory_format=torch.channels_last), "count": torch.tensor(3)}
    )
    others = [{"b": weight, "count": torch.tensor(3)}, {"a": weight + 1, "count": torch.tensor(3)}]
    assert plain not in {fingerprint(other) for other in others}
