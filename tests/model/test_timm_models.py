"""The source of timm's backbones, with its own smallest networks (`test_*`) where any will do."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import save_file
from timm_folders import SMALL, write_folder
from trunk_shapes import trunk_of

from deepchest_cli.errors import DeepChestError, ExitCode, UsageError
from deepchest_cli.model.backbones.registry import (
    describe_backbone,
    folder_name,
    resolve_backbone,
    source_of,
)
from deepchest_cli.model.pretrained import choose_weights
from deepchest_cli.model.trunk import build_trunk
from deepchest_cli.model.weights import read_weights

timm = pytest.importorskip("timm")

VIT, CONVNEXT = "test_vit", "test_convnext"
VIT_NAME = "timm/test_vit.r160_in1k"


def network(architecture, **settings):
    """Return a network of timm as others use it: three colors and a classification layer."""
    torch.manual_seed(3)
    return timm.create_model(architecture, **settings).eval()


def refused(name, size=32, pool="auto"):
    with pytest.raises(UsageError) as error:
        describe_backbone(name, size, pool)
    return error.value


def features_on_gray(whole, gray):
    """Return what a network of three colors has before its classification layer."""
    last = whole.forward_features(gray.expand(-1, 3, -1, -1))
    return whole.forward_head(last, pre_logits=True)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Put files where the hub's library keeps those of a repository."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def put(repository, write):
        top = tmp_path / "cache" / f"models--{repository.replace('/', '--')}"
        folder = top / "snapshots" / ("0" * 40)
        folder.mkdir(parents=True)
        (top / "refs").mkdir()
        (top / "refs" / "main").write_text("0" * 40)
        write(folder)

    return put


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("timm/resnet50", "timm/resnet50.a1_in1k"),
        ("timm/resnet50.tv_in1k", "timm/resnet50.tv_in1k"),
        ("timm/convnext_tiny_in22ft1k", "timm/convnext_tiny.fb_in22k_ft_in1k"),  # an old name
        ("timm/hf_hub:owner/name", "timm/hf-hub:owner/name"),
        ("timm/hf-hub:owner/name@v2", "timm/hf-hub:owner/name@v2"),
    ],
)
def test_a_name_says_which_weights_belong_to_it(given, canonical):
    assert resolve_backbone(given) == canonical
    assert resolve_backbone(canonical) == canonical


def test_a_name_becomes_part_of_a_folders():
    assert folder_name("timm/resnet50.a1_in1k") == "timm-resnet50.a1_in1k"
    assert folder_name("timm/hf-hub:owner/name@v2") == "timm-name_v2"


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", CONVNEXT, VIT])
def test_one_channel_becomes_features_that_train(architecture):
    trunk, width = trunk_of(f"timm/{architecture}", 64)
    found = trunk.train()(torch.rand(2, 1, 64, 64))
    assert found.shape == (2, width)
    found.square().sum().backward()
    assert all(parameter.grad is not None for parameter in trunk.parameters())


def test_the_statistics_are_those_of_the_weights():
    ours, plain = describe_backbone("timm/resnet50", 64), describe_backbone("timm/test_vit", 64)
    assert (ours.mean, ours.std) == pytest.approx((0.449, 0.226), abs=1e-6)
    assert (plain.mean, plain.std) == (0.5, 0.5)


def test_a_description_is_plain_values_and_rebuilds_the_network():
    spec = describe_backbone("timm/test_vit", 64, "mean")
    assert json.loads(json.dumps(spec.config)) == spec.config
    one, other = build_trunk(spec)[0].eval(), build_trunk(spec)[0].eval()
    other.load_state_dict(one.state_dict())
    gray = torch.rand(2, 1, 64, 64)
    assert torch.equal(one(gray), other(gray))


@pytest.mark.parametrize("architecture", ["test_resnet", CONVNEXT, VIT, "test_efficientnet"])
def test_weights_of_three_colors_give_the_same_function_on_gray(tmp_path, architecture):
    whole = network(architecture, **({"img_size": 64} if architecture == VIT else {}))
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "w.pt")
    trunk, _ = trunk_of(f"timm/{architecture}", 64, str(tmp_path / "w.pt"))
    gray = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        expected = features_on_gray(whole, gray)
        assert torch.allclose(trunk.eval()(gray), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")  # timm's own, of swin
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_weights_are_resampled_to_another_size(tmp_path, name):
    settings = SMALL[name][0]
    whole = network(name, img_size=224, **settings)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    backbone = write_folder(tmp_path / "repository", name)
    trunk, _ = trunk_of(backbone, 96, str(tmp_path / "w.safetensors"))
    expected = network(name, img_size=96, **settings)
    # timm's own way to the same weights at this size
    filtered = sys.modules[type(whole).__module__].checkpoint_filter_fn(
        whole.state_dict(), expected
    )
    expected.load_state_dict(filtered)
    gray = torch.rand(2, 1, 96, 96)
    with torch.inference_mode():
        wanted = features_on_gray(expected, gray)
        assert torch.allclose(trunk.eval()(gray), wanted, rtol=1e-3, atol=1e-5)


def test_weights_of_another_network_name_their_keys(tmp_path):
    torch.save(network("test_resnet").state_dict(), tmp_path / "w.pt")
    with pytest.raises(DeepChestError, match="are not those of timm/test_vit.r160_in1k: 0 of") as e:
        trunk_of("timm/test_vit", 64, str(tmp_path / "w.pt"))
    assert "missing: cls_token, pos_embed" in e.value.message
    assert "unknown: conv1" in e.value.message


def test_a_class_token_and_the_mean_of_the_patches_without_registers(tmp_path):
    name = "vit_small_patch14_reg4_dinov2"
    backbone = write_folder(tmp_path / "repository", name)
    gray, trunks = torch.rand(2, 1, 56, 56), {}
    for pool in ("auto", "class-token", "mean"):
        trunks[pool] = build_trunk(describe_backbone(backbone, 56, pool))[0].eval()
        trunks[pool].load_state_dict(trunks["auto"].state_dict())
    with torch.inference_mode():
        tokens = trunks["auto"].forward_features(gray)
        assert tokens.shape == (2, 1 + 4 + 16, 48)
        assert torch.equal(trunks["class-token"](gray), tokens[:, 0])
        assert torch.equal(trunks["auto"](gray), tokens[:, 0])
        assert torch.allclose(trunks["mean"](gray), tokens[:, 5:].mean(dim=1), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "pool", "hint"),
    [
        ("timm/test_resnet", "mean", "Leave --pool out"),
        ("timm/swin_tiny_patch4_window7_224", "class-token", "Leave --pool out"),
        ("timm/test_vit", "pooled", "Use --pool auto, class-token, mean."),
        ("timm/pit_ti_224", "mean", "Use --pool auto, class-token."),
    ],
)
def test_a_way_of_pooling_that_a_network_has_not_is_refused(name, pool, hint):
    error = refused(name, 64, pool)
    assert f"does not pool by {pool!r}" in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("name", "size", "hint"),
    [
        ("timm/vit_tiny_patch16_224", 100, "Use --image-size 96 (or 112)."),
        ("timm/vit_small_patch14_reg4_dinov2", 64, "Use --image-size 70 (or 56)."),
        ("timm/swin_tiny_patch4_window7_224", 70, "Use --image-size 68 (or 72)."),
        ("timm/coatnet_nano_rw_224", 70, "Use --image-size 64 (or 96)."),
        ("timm/convnextv2_atto", 28, "Use --image-size 32 (or 64)."),
    ],
)
def test_a_size_that_does_not_fit_names_the_nearest_that_do(name, size, hint):
    error = refused(name, size)
    assert f"does not take radiographs of {size} px" in error.message
    assert error.hint == hint
    describe_backbone(name, int(hint.split()[2]))


@pytest.mark.parametrize("size", [28, 100, 222])
def test_a_network_of_convolutions_takes_any_size(size):
    trunk, width = trunk_of("timm/test_resnet", size)
    assert trunk.eval()(torch.rand(1, 1, size, size)).shape == (1, width)


def test_misspelt_names_are_answered_with_the_nearest():
    error = refused("timm/convnxt_tiny")
    assert error.message == "Unknown timm model 'convnxt_tiny'. Did you mean 'convnext_tiny'?"
    assert error.hint.startswith("The nearest of 1,")
    assert len(error.hint.split(", ")) == 10
    error = refused("timm/resnet50.a1_in22k")
    assert "Unknown weights of timm/resnet50: 'a1_in22k'. Did you mean 'a1_in1k'" in error.message
    assert "timm/hf-hub:owner/name" in refused("timm/owner/name").hint


def test_a_network_that_gives_a_map_is_refused(monkeypatch):
    monkeypatch.setattr(timm.models.ResNet, "forward_head", lambda self, x, pre_logits=False: x)
    error = refused("timm/test_resnet", 64)
    assert "timm/test_resnet.r160_in1k is no classifier: it gives (2, " in error.message


def test_a_network_for_colors_alone_is_refused():
    error = refused("timm/csatv2", 512)
    assert "cannot be used on radiographs of one channel: shape" in error.message


def test_stochastic_depth():
    from timm.layers import DropPath

    spec = describe_backbone("timm/test_vit", 64)
    source = source_of(spec.name)
    rates = [m.drop_prob for m in source.build(spec, 0.2)[0].modules() if isinstance(m, DropPath)]
    assert max(rates) == pytest.approx(0.2)
    spec = describe_backbone("timm/vgg11", 64)
    with pytest.raises(UsageError, match="vgg11.tv_in1k has no stochastic depth"):
        source.build(spec, 0.2)


def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    error = refused("timm/resnet50")
    assert "needs the package timm" in error.message
    assert "pip install" in error.hint


def test_without_a_network_auto_begins_from_random_weights(cached):
    spec = describe_backbone("timm/test_vit", 64)
    choice = choose_weights(spec, "auto")
    assert choice.name == "none"
    assert "begins from random weights" in choice.warning
    assert "https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model" in choice.warning
    with pytest.raises(DeepChestError, match="could not be fetched: the hub does not answer"):
        choose_weights(spec, "imagenet")


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_the_cache_of_the_hub_are_taken_as_timm_loads_them(cached, file):
    whole = network(VIT)  # of 160 px
    save = save_file if file.endswith("safetensors") else torch.save
    cached("timm/test_vit.r160_in1k", lambda folder: save(whole.state_dict(), folder / file))
    spec = describe_backbone("timm/test_vit", 64)
    choice = choose_weights(spec, "auto")
    assert (choice.name, choice.warning) == ("pretrained", "")
    trunk, _ = build_trunk(spec, choice.weights)
    expected = network(VIT, img_size=64)
    expected.load_state_dict(
        timm.models.vision_transformer.checkpoint_filter_fn(whole.state_dict(), expected)
    )
    gray = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        wanted = features_on_gray(expected, gray)
        assert torch.allclose(trunk.eval()(gray), wanted, rtol=1e-3, atol=1e-5)
    assert choice.sha256 == choose_weights(spec, "pretrained").sha256


def test_a_repository_is_read_once_and_its_network_needs_it_no_more(cached, tmp_path):
    """A network of its own in a repository, which is gone when the checkpoint is read."""
    name = "vit_tiny_patch16_224"
    whole = network(name, num_classes=5, **SMALL[name][0])

    cached(
        "clinic/chest",
        lambda folder: timm.models.save_for_hf(
            whole, folder, data_config={"std": (0.25,) * 3}, safe_serialization=True
        ),
    )
    spec = describe_backbone("timm/hf-hub:clinic/chest", 224)
    assert spec.config["arguments"].items() >= SMALL[name][0].items()
    assert (spec.mean, spec.std) == (0.5, 0.25)
    choice = choose_weights(spec, "auto")
    assert choice.name == "pretrained"
    trunk, width = build_trunk(spec, choice.weights)
    gray = torch.rand(1, 1, 224, 224)
    with torch.inference_mode():
        expected = features_on_gray(whole, gray)
        assert torch.allclose(trunk.eval()(gray), expected, rtol=1e-3, atol=1e-5)
    shutil.rmtree(tmp_path / "cache")
    again, same = build_trunk(spec)
    assert same == width
    again.load_state_dict(trunk.state_dict())
    with pytest.raises(DeepChestError, match="cannot be had") as error:
        describe_backbone("timm/hf-hub:clinic/chest", 32)
    assert error.value.exit_code == ExitCode.FAILED  # without a network the name may be right


def test_a_folder_is_a_repository_too(tmp_path):
    backbone = write_folder(tmp_path / "repository", VIT)
    spec = describe_backbone(backbone, 64)
    assert choose_weights(spec, "auto").name == "none"  # it has none: there is nothing to miss
    whole = network(VIT, img_size=224)
    torch.save(whole.state_dict(), tmp_path / "repository" / "pytorch_model.bin")
    assert source_of(backbone).published(spec).is_cached
    choice = choose_weights(spec, "auto")
    trunk, _ = build_trunk(spec, choice.weights)
    assert torch.equal(trunk.norm.weight, whole.norm.weight)


def test_a_folder_decides_nothing_but_its_architecture(tmp_path):
    content = {"architecture": VIT, "model_args": {"pretrained": True, "checkpoint_path": "x.pt"}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert describe_backbone(f"timm/local-dir:{tmp_path}", 64).config["arguments"] == {}


def test_weights_with_an_attention_pool_fit_the_mean_of_patches(tmp_path):
    settings = {"depth": 1, "embed_dim": 24, "num_heads": 3}
    whole = network("vit_base_patch16_siglip_224", img_size=64, in_chans=1, **settings)
    torch.save(whole.state_dict(), tmp_path / "w.pt")
    content = {"architecture": "vit_base_patch16_siglip_224", "model_args": settings}
    (tmp_path / "config.json").write_text(json.dumps(content))
    spec = describe_backbone(f"timm/local-dir:{tmp_path}", 64, "mean")
    source = source_of(spec.name)
    trunk, _ = build_trunk(spec, read_weights(spec, str(tmp_path / "w.pt"), source))
    gray = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        expected = whole.forward_features(gray).mean(dim=1)
        assert torch.allclose(trunk.eval()(gray), expected, atol=1e-5)


class Harmful:
    """What runs code where a pickle is read without care."""

    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


def test_a_pickle_that_would_run_code_is_not_run(tmp_path):
    backbone = write_folder(tmp_path / "repository", VIT)
    torch.save({"a": Harmful()}, tmp_path / "repository" / "pytorch_model.bin")
    spec = describe_backbone(backbone, 64)
    for weights in ("pretrained", "auto"):
        with pytest.raises(DeepChestError, match="could not be read: weights_only=True blocked"):
            choose_weights(spec, weights)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no file"),
        ("{", "is no JSON"),
        ("[]", "names no architecture of timm"),
        ('{"model_type": "dinov2"}', "names no architecture of timm: None"),
        ('{"architecture": "../evil"}', "names no architecture of timm: '../evil'"),
        ('{"architecture": "test_vit", "model_args": 3}', "config.json is damaged: 'int'"),
        ('{"architecture": "test_vit", "pretrained_cfg": {"mean": ["a"]}}', "is damaged: could"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    error = refused(f"timm/local-dir:{tmp_path}")
    assert said in error.message
    assert "config.json" in error.message


def test_a_hub_without_the_repository_or_an_answer(monkeypatch, cached):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    for kind, said, code in (
        (RepositoryNotFoundError, "the hub has no repository a/b", ExitCode.WRONG_USE),
        (GatedRepoError, "a/b asks for consent", ExitCode.WRONG_USE),
        (ConnectionError, "the hub does not answer", ExitCode.FAILED),
    ):

        def answer(*_, kind=kind, **__):
            error = kind.__new__(kind)
            Exception.__init__(error, "no")
            raise error

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", answer)
        with pytest.raises(DeepChestError, match=said) as error:
            describe_backbone("timm/hf-hub:a/b", 32)
        assert error.value.exit_code == code
    assert "'b c' is no name of a repository" in refused("timm/hf-hub:b c").message
