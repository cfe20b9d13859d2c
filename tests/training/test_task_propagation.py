"""Gradients of single tasks at work in the training step, against plain back-propagation."""

from dataclasses import replace

import pytest
import torch
from tests_support import QUICK
from torch import nn

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.batches import Batch
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.errors import UsageError
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.training.forward import DROPOUT, seed_of
from deepchest_cli.training.layer_lengths import WatchedLayer
from deepchest_cli.training.losses import FocalLoss, cross_entropy, task_losses
from deepchest_cli.training.objective import Objective
from deepchest_cli.training.optimization import build_optimizer
from deepchest_cli.training.setup import set_up
from deepchest_cli.training.step import TrainingStep, choose_propagation
from deepchest_cli.weighting import GradientWeighter, build_weighter
from deepchest_cli.weighting.gradients.gradnorm import GradNormWeighter

# every family of the reference, and others whose last layers differ; the smallest members
FAMILIES = {
    "small_cnn": 32,
    "vgg11": 32,
    "resnet18": 32,
    "efficientnet_b0": 32,
    "densenet121": 32,
    "mobilenet_v2": 32,
    "inception_v3": 75,
    "vit_b_32": 32,
    "swin_t": 32,
    "squeezenet1_1": 32,
    "shufflenet_v2_x0_5": 32,
    "convnext_tiny": 32,
}
LEVELS = ("features", "parameters")
TASKS = len(FINDINGS)
FEW = FINDINGS[:3]  # where a model is large


class Seen(GradientWeighter):
    """Given weights, and a memory of the gradients they were used on."""

    def __init__(self, weights, tasks=FINDINGS):
        super().__init__(tasks)
        self.given, self.jacobian = weights, None

    @property
    def weights(self):
        return self.given

    def forward(self, losses, jacobian):
        self.jacobian = jacobian.clone()
        return self.given.to(jacobian) @ jacobian


def batch_of(images=6, tasks=TASKS):
    """Return labels of which some are unknown; of the second task all, of the first image too."""
    chance = torch.Generator().manual_seed(3)
    labels = (torch.rand(images, tasks, generator=chance) < 0.4).float()
    known = torch.rand(images, tasks, generator=chance) < 0.8
    known[0], known[:, 1] = False, False
    return Batch(torch.zeros(images, 1, 1, dtype=torch.uint8), labels, known)


def setup_of(shards, weighter, backbone="small_cnn", head="linear", **changes):
    """Return a run's parts around a new model for the weighter's tasks."""
    settings = {"weighter": "mgda", "precision": "fp32", "batch_size": 6, **changes}
    config = TrainConfig(data=shards, **QUICK | settings)
    size = FAMILIES[backbone]
    torch.manual_seed(0)
    classifier = Classifier(Architecture(backbone, head, weighter.tasks, size, size)).train()
    # away from heads of hardly any weight
    torch.nn.init.normal_(classifier.task_layer.weight, std=0.1)
    setup = set_up(config)
    return replace(setup, classifier=classifier, weighter=weighter)


def gradients(setup, parts=1):
    """Propagate a batch, and return the gradient of every parameter by name."""
    size = setup.classifier.architecture.image_size
    radiographs = torch.randn(6, 1, size, size, generator=torch.Generator().manual_seed(1))
    setup.classifier.zero_grad()
    outcome = choose_propagation(setup)(
        list(radiographs.chunk(parts)), batch_of(tasks=len(setup.weighter.tasks)), 0
    )
    named = setup.classifier.named_parameters()
    return outcome, {name: parameter.grad.clone() for name, parameter in named}


def same(found, expected, share=1e-5):
    """Whether tensors agree to a share of the largest number among them all."""
    largest = max(tensor.abs().max().item() for tensor in expected.values())
    assert largest > 0
    return all((found[k] - tensor).abs().max() <= share * largest for k, tensor in expected.items())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("backbone", FAMILIES)
def test_the_sum_of_task_gradients_is_plain_back_propagation(shards, backbone, level):
    weighter = Seen(torch.ones(3), FEW)
    by_task = setup_of(shards, weighter, backbone, gradient_level=level)
    # the very same model, which a step in training mode does not change: some are large
    plain = replace(by_task, weighter=build_weighter("equal", FEW))
    expected, found = gradients(plain), gradients(by_task)
    assert torch.equal(found[0].logits, expected[0].logits)
    assert torch.allclose(found[0].losses.values, expected[0].losses.values)
    assert same(found[1], expected[1])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_weights_act_on_what_is_shared_and_not_on_the_findings_own(shards, head, level):
    weights = torch.linspace(-1, 2, TASKS)
    setup = setup_of(shards, Seen(weights), head=head, gradient_level=level)
    _, found = gradients(setup)
    fixed = build_weighter("equal", FINDINGS)
    fixed.task_weights.copy_(weights)
    _, weighted = gradients(setup_of(shards, fixed, head=head))
    _, equal = gradients(setup_of(shards, build_weighter("equal", FINDINGS), head=head))
    own = {"linear": "head.", "mlp": "head.2."}[head]
    expected = {k: equal[k] if k.startswith(own) else weighted[k] for k in found}
    assert not same(equal, weighted, 1e-2)
    assert same(found, expected)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_every_row_is_the_gradient_of_its_task(shards, head, level):
    weighter = Seen(torch.ones(TASKS))
    setup = setup_of(shards, weighter, head=head, gradient_level=level)
    setup = replace(setup, label_loss=FocalLoss(2.0))
    gradients(setup)
    classifier, batch = setup.classifier, batch_of()
    radiographs = torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    features, logits = classifier(radiographs)
    losses = task_losses(logits, batch.labels, batch.known, FocalLoss(2.0))
    by = [features] if level == "features" else classifier.shared_parameters
    for task, (loss, row) in enumerate(zip(losses.values, weighter.jacobian, strict=True)):
        found = torch.autograd.grad(loss, by, retain_graph=True, materialize_grads=True)
        expected = torch.cat([gradient.flatten() for gradient in found])
        assert (row - expected).abs().max() <= 1e-5 * expected.abs().max() + 1e-9, task
    assert not weighter.jacobian[1].any()  # without a known label


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("name", ["mgda", "pcgrad", "gradnorm"])
def test_a_step_in_parts_is_the_step(shards, name, level, parts):
    whole, in_parts = (
        gradients(setup_of(shards, build_weighter(name, FINDINGS), gradient_level=level), n)
        for n in (1, parts)
    )
    assert same(in_parts[1], whole[1], 1e-4)
    assert torch.allclose(in_parts[0].weights, whole[0].weights, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "precision"), [("resnet18", "bf16"), ("resnet18", "fp16"), ("swin_t", "bf16")]
)
@pytest.mark.parametrize("level", LEVELS)
def test_half_precision_is_that_of_plain_back_propagation(shards, backbone, level, precision):
    setups = [
        setup_of(shards, weighter, backbone, gradient_level=level, precision=precision)
        for weighter in (Seen(torch.ones(3), FEW), build_weighter("equal", FEW))
    ]
    scaled = [replace(setup, scaler=scaler_for(precision)) for setup in setups]
    (_, found), (_, expected) = (gradients(setup) for setup in scaled)
    assert apart(found, expected) < 0.02


def apart(found, expected):
    """Return the length of the difference over the length of what is expected."""
    one, other = (torch.cat([t.flatten() for t in x.values()]) for x in (found, expected))
    return ((one - other).norm() / other.norm()).item()


def scaler_for(precision):
    return torch.amp.GradScaler("cpu", init_scale=2.0**6, enabled=precision == "fp16")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["upgrad", "mgda", "gradnorm"])
def test_half_precision_goes_the_same_way(shards, name, level, precision):
    full, half = (
        setup_of(shards, build_weighter(name, FINDINGS), gradient_level=level, precision=p)
        for p in ("fp32", precision)
    )
    half = replace(half, scaler=scaler_for(precision))
    found, expected = gradients(half), gradients(full)
    scaled = {name: gradient / half.scaler.get_scale() for name, gradient in found[1].items()}
    assert apart(scaled, expected[1]) < 0.05
    assert torch.allclose(found[0].weights, expected[0].weights, atol=0.02)


def test_a_scale_that_is_too_large_skips_the_step(shards):
    weighter = build_weighter("mgda", FINDINGS)
    setup = setup_of(shards, weighter, precision="fp16", gradient_level="parameters")
    setup = replace(
        setup,
        optimizer=build_optimizer(setup.classifier, weighter, setup.config),
        scaler=torch.amp.GradScaler("cpu", init_scale=2.0**40),
    )
    before = [parameter.detach().clone() for parameter in setup.classifier.parameters()]
    step = TrainingStep(setup)
    images = torch.randint(0, 255, (6, 32, 32), dtype=torch.uint8)
    step(replace(batch_of(), images=images), 0)
    after = list(setup.classifier.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert setup.scaler.get_scale() < 2.0**40
    assert weighter.failures == 0


class Looking(GradNormWeighter):
    """GradNorm that remembers what it was shown."""

    def __init__(self, tasks=FINDINGS):
        super().__init__(tasks)
        self.lengths = []

    def forward(self, losses, jacobian):
        self.lengths.append(jacobian.norm(dim=1))
        return super().forward(losses, jacobian)


def expected_lengths(setup, parameters):
    """Return how long each task's gradient by the parameters is, by plain back-propagation."""
    classifier, size = setup.classifier, setup.classifier.architecture.image_size
    batch = batch_of(tasks=len(setup.weighter.tasks))
    radiographs = torch.randn(6, 1, size, size, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(seed_of(DROPOUT, setup.config.seed, 0, 0, 0))
    losses = task_losses(classifier(radiographs)[1], batch.labels, batch.known)
    rows = [
        torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        for loss in losses.values
    ]
    return torch.stack([torch.cat([g.flatten() for g in row]).norm() for row in rows])


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_gradnorm_looks_at_the_last_shared_layer_or_at_all(shards, head, level, parts):
    setup = setup_of(shards, Looking(), head=head, gradient_level=level)
    outcome, found = gradients(setup, parts)
    assert outcome.weights.tolist() == [1] * TASKS != setup.weighter.weights.tolist()
    classifier = setup.classifier
    last = classifier.head[0].weight if head == "mlp" else classifier.trunk[10].weight
    by = [last] if level == "features" else classifier.shared_parameters
    lengths = expected_lengths(setup, by)
    assert torch.allclose(setup.weighter.lengths[0], lengths, rtol=1e-4, atol=1e-7)
    # what the model gets is the gradient of the weighted sum, heads included
    equal = setup_of(shards, build_weighter("equal", FINDINGS), head=head)
    assert same(found, gradients(equal)[1])
    weights = setup.weighter.weights
    equal.weighter.task_weights.copy_(weights)
    assert same(gradients(setup, parts)[1], gradients(equal)[1])


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121", "vgg11", "vit_b_32"])
def test_gradnorm_measures_any_layer_without_its_gradients(shards, backbone):
    setup = setup_of(shards, Looking(FEW), backbone)
    layer = setup.classifier.last_shared_layer
    propagation = choose_propagation(setup)
    propagation.watched.is_worth_it = lambda tasks: True
    size = FAMILIES[backbone]
    radiographs = torch.randn(6, 1, size, size, generator=torch.Generator().manual_seed(1))
    propagation([radiographs], batch_of(tasks=3), 0)
    # neither a graph nor a hook is kept beyond its step
    assert propagation.watched.output is None
    assert not layer._forward_hooks
    expected = expected_lengths(setup, [layer.weight])
    assert expected[0] > 0
    assert torch.allclose(setup.weighter.lengths[0], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 5, 3, stride=2, padding=1, dilation=2), (4, 3, 11, 9)),
        (nn.Conv2d(4, 6, 1), (2, 4, 5, 5)),
        (nn.Linear(7, 3), (5, 7)),
        (nn.Linear(7, 3), (5, 4, 7)),
    ],
)
def test_lengths_are_those_of_the_gradients(layer, shape):
    watched, chance = WatchedLayer(layer), torch.Generator().manual_seed(0)
    with watched.watching():
        output = layer(torch.randn(shape, generator=chance))
        features = output.flatten(1).tanh()
        starts = torch.randn(3, *features.shape, generator=chance)
        found = watched.lengths(features, starts)
    for length, start in zip(found, starts, strict=True):
        (gradient,) = torch.autograd.grad(features, layer.weight, start, retain_graph=True)
        assert length.item() == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_lengths_of_scaled_gradients_in_half_precision_do_not_overflow():
    layer, chance = nn.Linear(8, 400).half(), torch.Generator().manual_seed(0)
    watched, inputs = WatchedLayer(layer), torch.randn(5, 8, generator=chance).half()
    start = 30 * torch.randn(1, 5, 400, generator=chance).half()  # rows are 600 long
    with watched.watching():
        found = watched.lengths(layer(inputs).clone(), start)
    expected = start[0].float().T @ inputs.float()
    assert found.item() == pytest.approx(expected.norm().item(), rel=0.01)


def test_task_gradients_of_half_precision_logits_do_not_vanish():
    logits = torch.full((512, 1), -16.0, dtype=torch.float16)
    known = torch.ones(512, 1, dtype=torch.bool)
    objective = Objective(cross_entropy, torch.amp.GradScaler("cpu", enabled=False))
    _, found = objective.by_task(logits, torch.zeros(512, 1), known)
    expected = torch.sigmoid(torch.tensor(-16.0)).item() / 512  # half of the smallest number
    assert found[0].item() == pytest.approx(expected, rel=1e-3)


def test_lengths_are_measured_only_where_that_is_cheaper():
    few, many = (torch.zeros(n, 64, 4, 4) for n in (2, 4096))
    watched, grouped = (WatchedLayer(nn.Conv2d(64, 64, 3, groups=g)) for g in (1, 64))
    for radiographs, worth_it in ((few, True), (many, False)):
        with watched.watching():
            watched.layer(radiographs)
            assert watched.is_worth_it(14) is worth_it
    with grouped.watching():
        grouped.layer(few)
        assert not grouped.is_worth_it(14)


def test_deepchests_weights_reach_the_findings_own_parameters(shards):
    above = build_weighter("deepchest+upgrad", FINDINGS)
    above.deepchest.task_weights.copy_(torch.linspace(0.5, 1.5, TASKS))
    _, found = gradients(setup_of(shards, above))
    _, plain = gradients(setup_of(shards, build_weighter("upgrad", FINDINGS)))
    expected = torch.linspace(0.5, 1.5, TASKS) * plain["head.bias"]
    assert torch.allclose(found["head.bias"], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("level", LEVELS)
def test_a_compiled_model_is_refused_only_where_it_must_be(shards, level):
    config = TrainConfig(data=shards, compile=True, gradient_level=level, **QUICK)
    for name, fits in (("mgda", level == "features"), ("gradnorm", False)):
        if fits:
            set_up(replace(config, weighter=name))
            continue
        with pytest.raises(
            UsageError, match="--compile: .* a compiled model can go back only"
        ) as e:
            set_up(replace(config, weighter=name))
        assert "Leave --compile out" in e.value.hint


@pytest.mark.parametrize("name", ["mgda", "gradnorm", "deepchest+pcgrad"])
def test_a_model_without_shared_features_is_refused(shards, name):
    config = TrainConfig(data=shards, head="cross-stitch", weighter=name, **QUICK)
    with pytest.raises(
        UsageError, match=f"'{name.replace('+', '.')}' needs features that all"
    ) as e:
        set_up(config)
    assert e.value.hint == "Use --head linear or --head mlp."


def test_a_level_for_a_weighter_without_gradients_is_refused(shards):
    config = TrainConfig(data=shards, weighter="dwa", gradient_level="parameters", **QUICK)
    with pytest.raises(UsageError, match="the weighter 'dwa' needs no gradients"):
        set_up(config)
