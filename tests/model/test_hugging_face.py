import json
import os
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hugging_face_folders import CONFIGS, MEAN, STD, configuration, save_folder, write_processor
from safetensors.torch import load_file, save_file

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.backbones.registry import describe_backbone, folder_name, source_of
from deepchest_cli.model.checkpoint import load_model, save_checkpoint
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.model.pretrained import choose_weights
from deepchest_cli.model.trunk import build_trunk
from deepchest_cli.model.weights import read_weights

transformers = pytest.importorskip("transformers")
constants = pytest.importorskip("huggingface_hub.constants")
errors = pytest.importorskip("huggingface_hub.errors")

POOLS = [("rad-dino", pool) for pool in ("class-token", "pooled", "mean")]
POOLS += [(kind, pool) for kind in ("registers", "dinov3", "beit", "clip") for pool in
          ("class-token", "pooled", "mean")]  # fmt: skip
POOLS += [("vit", "class-token"), ("vit", "pooled"), ("siglip", "pooled"), ("siglip", "mean")]
POOLS += [(kind, pool) for kind in ("swin", "convnext", "dinov3-convnext") for pool in
          ("pooled", "mean")]  # fmt: skip
LEADING = {"registers": 5, "dinov3": 5, "swin": 0, "siglip": 0, "dinov3-convnext": 1}
SIZES = {"rad-dino": 518, "registers": 56}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Refuse every look at the network."""

    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root, made = tmp_path_factory.mktemp("models"), {}

    def of(kind):
        if kind not in made:
            made[kind] = save_folder(root / kind, kind)
        return made[kind]

    return of


def trunk_of(folder, size, pool="auto", weights="pretrained", **settings):
    spec = describe_backbone(f"hf/{folder}", size, pool)
    read = read_weights(spec, weights, source_of(spec.name))
    return build_trunk(spec, read, **settings)[0].eval(), spec


def theirs(folder, kind, images, pool, **options):
    """Return features as transformers computes them, from three colors."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    colors = [np.repeat(image[:, :, None], 3, axis=2) for image in images]
    pixels = processor(colors, return_tensors="pt")["pixel_values"]
    network = transformers.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        found = getattr(network, "vision_model", network).eval()(pixels, **options)
    if pool == "pooled":
        return found.pooler_output.flatten(1)
    tokens = found.last_hidden_state
    if tokens.dim() == 4:
        return tokens.mean((2, 3))
    return tokens[:, 0] if pool == "class-token" else tokens[:, LEADING.get(kind, 1) :].mean(1)


def radiographs(size):
    return np.random.default_rng(0).integers(0, 256, (2, size, size), dtype=np.uint8)


def ours(trunk, spec, images):
    architecture = Architecture.of(spec, "linear", ("Effusion",), spec.image_size)
    with torch.no_grad():
        gray = architecture.radiographs(torch.from_numpy(images))
        return trunk(gray.expand(-1, spec.channels, -1, -1))


@pytest.mark.parametrize(("kind", "pool"), POOLS)
def test_features_are_those_of_transformers(folders, kind, pool):
    size = SIZES.get(kind, 64)
    images = radiographs(size)
    trunk, spec = trunk_of(folders(kind), size, pool)
    assert (spec.channels, spec.mean, spec.std) == (1, pytest.approx(MEAN), pytest.approx(STD))
    wanted = theirs(folders(kind), kind, images, pool)
    torch.testing.assert_close(ours(trunk, spec, images), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "size"), [("rad-dino", 224), ("registers", 28), ("vit", 128)])
def test_positions_at_another_size_are_those_that_transformers_interpolates(folders, kind, size):
    images = radiographs(size)
    trunk, spec = trunk_of(folders(kind), size, "class-token")
    options = {"interpolate_pos_encoding": True} if kind == "vit" else {}
    wanted = theirs(folders(kind), kind, images, "class-token", **options)
    torch.testing.assert_close(ours(trunk, spec, images), wanted, atol=1e-5, rtol=1e-5)


def test_relative_positions_are_resampled_too(folders):
    images = radiographs(128)
    trunk, spec = trunk_of(folders("beit"), 128, "pooled")
    wanted = theirs(folders("beit"), "beit", images, "pooled", interpolate_pos_encoding=True)
    torch.testing.assert_close(ours(trunk, spec, images), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_parameter_is_trained(folders, kind):
    size = SIZES.get(kind, 64)
    trunk, spec = trunk_of(folders(kind), size)
    trunk.train()(torch.randn(2, spec.channels, size, size)).square().sum().backward()
    assert not [n for n, p in trunk.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize(
    ("kind", "pool"),
    [("rad-dino", "pooled"), ("vit", "class-token"), ("swin", "pooled"), ("beit", "pooled"),
     ("convnext", "pooled"), ("clip", "pooled")],
)  # fmt: skip
def test_auto_pools_as_the_network_was_made(folders, kind, pool):
    """Most published ViTs lack the layer of the pooler, which belongs to another training."""
    assert describe_backbone(f"hf/{folders(kind)}", SIZES.get(kind, 64)).pool == pool


def test_a_network_has_no_pooling_that_it_cannot_compute(folders):
    with pytest.raises(UsageError, match="does not pool by 'class-token'") as caught:
        describe_backbone(f"hf/{folders('convnext')}", 64, "class-token")
    assert caught.value.hint == "Use --pool auto, pooled, mean."


def test_a_checkpoint_needs_neither_folder_nor_network(tmp_path, monkeypatch):
    folder = save_folder(tmp_path / "model", "registers")
    monkeypatch.chdir(tmp_path)
    spec = describe_backbone("hf/model", 56, "mean")
    assert spec.name == f"hf/{folder}" and folder_name(spec.name) == "hf-model"
    json.dumps(dict(spec.config), allow_nan=False)
    architecture = Architecture.of(spec, "linear", ("Effusion", "Mass"), 56)
    weights = read_weights(spec, "pretrained", source_of(spec.name))
    classifier = Classifier(architecture, weights).eval()
    save_checkpoint(tmp_path / "best.pt", classifier, {})
    folder.rename(tmp_path / "gone")
    loaded = load_model(tmp_path / "best.pt", torch.device("cpu")).classifier
    gray = torch.randn(2, 1, 56, 56)
    for mine, other in zip(classifier(gray), loaded(gray), strict=True):
        # where a tensor lies in memory may move the last bit
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)


def test_weights_by_path_are_found_under_the_names_of_their_time(folders, tmp_path):
    """Files keep the names of the release of transformers that wrote them, and the task's head."""
    config = configuration("rad-dino")
    config.num_labels = 3
    network = transformers.Dinov2ForImageClassification(config)
    network.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert any(key.startswith("dinov2.encoder.layer.0.attention.attention") for key in saved)
    trunk, _ = trunk_of(folders("rad-dino"), 518, weights=str(tmp_path / "model.safetensors"))
    wrapped = {f"module.{key}": value for key, value in saved.items()}
    torch.save({"state_dict": wrapped}, tmp_path / "wrapped.pt")
    again, _ = trunk_of(folders("rad-dino"), 518, weights=str(tmp_path / "wrapped.pt"))
    gray = torch.randn(1, 1, 518, 518)
    with torch.no_grad():
        wanted = network.eval().dinov2(gray.expand(-1, 3, -1, -1)).pooler_output
        torch.testing.assert_close(trunk(gray), wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(again(gray), wanted, atol=1e-5, rtol=1e-5)


def test_weights_of_another_network_name_the_keys(folders):
    with pytest.raises(DeepChestError, match=r"are not those of .*missing: .*unknown: "):
        trunk_of(folders("vit"), 64, weights=str(folders("swin")))


def test_a_folder_with_the_weights_of_another_network(folders, tmp_path):
    folder = save_folder(tmp_path / "model", "vit")
    state = load_file(folder / "model.safetensors")
    state["embeddings.cls_token"] = torch.zeros(1, 1, 48)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(DeepChestError, match=r"config.json: embeddings.cls_token is \(1, 1, 48\)"):
        trunk_of(folder, 64)
    save_file({"other": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(DeepChestError, match="0 of its 38 tensors fit|holds no tensors"):
        trunk_of(folder, 64)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DeepChestError, match="cannot be read"):
        trunk_of(folder, 64)


def test_a_pickle_gives_tensors_and_runs_nothing(folders, tmp_path):
    folder = save_folder(tmp_path / "model", "vit")
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    gray = torch.randn(1, 1, 64, 64)
    trunk, other = trunk_of(folder, 64)[0], trunk_of(folders("vit"), 64)[0]
    torch.testing.assert_close(trunk(gray), other(gray), atol=0, rtol=0)
    victim = tmp_path / "victim"
    bomb = type("Bomb", (), {"__reduce__": lambda _: (os.mkdir, (str(victim),))})()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": bomb}))
    for weights in ("pretrained", str(folder)):
        with pytest.raises(DeepChestError):
            trunk_of(folder, 64, weights=weights)
    assert not victim.exists()


def test_auto_takes_the_weights_of_a_folder_and_none_where_it_has_none(tmp_path):
    folder = save_folder(tmp_path / "model", "vit")
    spec = describe_backbone(f"hf/{folder}", 64)
    chosen = choose_weights(spec, "auto")
    assert chosen.name == "pretrained" and len(chosen.sha256) == 64
    assert choose_weights(spec, chosen.name, chosen.sha256).sha256 == chosen.sha256
    (folder / "model.safetensors").unlink()
    assert choose_weights(spec, "auto").name == "none"


@pytest.mark.parametrize(
    ("mean", "std", "more", "wanted"),
    [
        ([0.4, 0.5, 0.6], [0.2, 0.2, 0.2], {}, (0.5, 0.2)),
        (0.5, 0.25, {}, (0.5, 0.25)),
        ([0.5] * 3, [0.5] * 3, {"do_normalize": False}, (0.0, 1.0)),
    ],
)
def test_mean_and_std_are_the_image_processors(tmp_path, mean, std, more, wanted):
    folder = save_folder(tmp_path / "model", "vit")
    write_processor(folder, mean, std, **more)
    spec = describe_backbone(f"hf/{folder}", 64)
    assert (spec.mean, spec.std) == pytest.approx(wanted)
    whole = {"image_processor": json.loads((folder / "preprocessor_config.json").read_text())}
    (folder / "preprocessor_config.json").rename(folder / "processor_config.json")
    (folder / "processor_config.json").write_text(json.dumps(whole))
    assert describe_backbone(f"hf/{folder}", 64) == spec
    (folder / "processor_config.json").unlink()
    spec = describe_backbone(f"hf/{folder}", 64)
    assert (spec.mean, spec.std) == (0.5, 0.25)  # ours


def test_stochastic_depth_only_where_there_is_some(folders):
    trunk, _ = trunk_of(folders("rad-dino"), 518, drop_path=0.3)
    assert trunk.config.drop_path_rate == 0.3
    with pytest.raises(UsageError, match="vit of transformers has no stochastic depth"):
        trunk_of(folders("vit"), 64, drop_path=0.1)


@pytest.mark.parametrize(
    ("kind", "size", "hint"),
    [("rad-dino", 512, "Use --image-size 518 (or 504)."),
     ("vit", 100, "Use --image-size 96 (or 112)."), ("convnext", 28, "--image-size 224")],
)  # fmt: skip
def test_sizes_that_a_network_cannot_take(folders, kind, size, hint):
    with pytest.raises(UsageError, match=f"does not take .*radiographs of {size} px") as caught:
        describe_backbone(f"hf/{folders(kind)}", size)
    assert hint in caught.value.hint


def test_windows_are_filled_up(folders):
    trunk, _ = trunk_of(folders("swin"), 70)
    assert trunk(torch.zeros(1, 1, 70, 70)).shape == (1, 32)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "takes input_ids, not images"),
        ({"model_type": "videomae"}, "does not take single radiographs"),
        ({"model_type": "rad_dino_2", "auto_map": {"AutoModel": "code.Model"}}, "is never run"),
        ({"model_type": "rad_dino_2"}, "has no model of the type 'rad_dino_2'"),
        ({"model_type": "encodec_x"}, "has no model of the type"),
        ({"architecture": "vit_tiny", "num_features": 192}, "has no model_type"),
        ({"model_type": "vit", "hidden_size": "wide"}, "is no configuration of vit"),
        ([], "holds no JSON object"),
    ],
)
def test_configurations_that_build_no_backbone(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=message) as caught:
        describe_backbone(f"hf/{tmp_path}", 64)
    assert caught.value.hint


def test_code_in_a_folder_is_never_imported(tmp_path):
    folder = save_folder(tmp_path / "model", "vit")
    values = json.loads((folder / "config.json").read_text())
    values["auto_map"] = {"AutoModel": "code.Model", "AutoConfig": "code.Config"}
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    trunk, spec = trunk_of(folder, 64)
    assert type(trunk) is transformers.ViTModel and "auto_map" not in spec.config
    assert not (tmp_path / "ran").exists()


def test_folders_that_are_none(tmp_path):
    with pytest.raises(UsageError, match="There is no folder"):
        describe_backbone(f"hf/{tmp_path}/missing", 64)
    with pytest.raises(UsageError, match=r"holds no config\.json"):
        describe_backbone(f"hf/{tmp_path}", 64)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="is no JSON file"):
        describe_backbone(f"hf/{tmp_path}", 64)
    for name in ("hf/", "hf/a b", "hf/owner/na:me"):
        with pytest.raises(UsageError, match="names no model of Hugging Face"):
            describe_backbone(name, 64)


def test_a_missing_extra_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match="need transformers") as caught:
        describe_backbone("hf/microsoft/rad-dino", 518)
    assert "pip install" in caught.value.hint


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Put a folder into the hub's cache as a repository."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(folder, repository):
        place = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("0" * 40)
        (place / "snapshots").mkdir()
        (place / "snapshots" / ("0" * 40)).symlink_to(folder)

    return put


def test_a_cached_repository_needs_no_network(folders, cache):
    cache(folders("rad-dino"), "microsoft/rad-dino")
    trunk, spec = trunk_of("microsoft/rad-dino", 518)
    assert spec.name == "hf/microsoft/rad-dino" and spec.mean == pytest.approx(MEAN)
    place = source_of(spec.name).published(spec)
    assert set(spec.config["pretrained_on"]) >= {"nih", "chexpert"}
    assert place.is_cached and place.url.endswith("/microsoft/rad-dino")
    gray = torch.randn(1, 1, 518, 518)
    other, _ = trunk_of(folders("rad-dino"), 518)
    torch.testing.assert_close(trunk(gray), other(gray), atol=0, rtol=0)


def test_without_a_network_it_is_said_what_is_not_cached(cache):
    with pytest.raises(DeepChestError, match=r"config\.json of o/n is not in the cache") as caught:
        describe_backbone("hf/o/n", 518)
    assert "no route to host" in caught.value.message and "hf download o/n" in caught.value.hint


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (errors.GatedRepoError, "asks for a consent", "hf auth login"),
        (errors.RepositoryNotFoundError, "Did you mean hf/microsoft/rad-dino?", "hf auth login"),
        (errors.RemoteEntryNotFoundError, r"holds no config.json", "config.json"),
    ],
)
def test_what_the_hub_answers(cache, monkeypatch, error, message, hint):
    response = SimpleNamespace(headers={}, request=None)

    def answer(*_, **__):
        raise error("refused", response=response)

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", answer)
    with pytest.raises(UsageError, match=message.replace("?", r"\?")) as caught:
        describe_backbone("hf/microsoft/raddino", 518)
    assert hint in caught.value.hint
