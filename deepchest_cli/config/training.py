"""The configuration of training: what all runs share, and that of `deepchest train`.

The defaults are the recipe `default`; a field's annotation is its flag.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from deepchest_cli.config.flags import DEFAULT_DATA, Data, Device, Flag, Seed

MODEL, OPTIMISATION = "Model", "Optimization"
RARE, INPUT, HARDWARE = "Rare findings", "Input", "Hardware"


@dataclass(frozen=True)
class RunConfig:
    """What a training run is, but for its weighter, its seed and its folder."""

    data: Data = DEFAULT_DATA
    recipe: Annotated[
        str | None,
        Flag(
            "Values for the flags that are not given: default, paper, or a TOML file.",
            metavar="NAME|PATH",
            values_from="recipe",
        ),
    ] = None
    gradient_level: Annotated[
        Literal["features", "parameters"],
        Flag(
            "Where a weighter that needs task gradients takes them: at the last shared features, "
            "or at all shared parameters (a way back for each finding)."
        ),
    ] = "features"
    epochs: Annotated[int, Flag("Passes over the training part.", minimum=1)] = 15
    max_steps: Annotated[int | None, Flag("Stop after so many steps.", minimum=1)] = None
    patience: Annotated[
        int, Flag("Stop after so many epochs without a better validation; 0: never.", minimum=0)
    ] = 5

    backbone: Annotated[
        str, Flag("Any torchvision classifier, small_cnn, or a family's name.", panel=MODEL)
    ] = "resnet50"
    weights: Annotated[
        str,
        Flag(
            "Initial weights: none, imagenet, or a file.",
            metavar="none|imagenet|PATH",
            panel=MODEL,
        ),
    ] = "none"
    head: Annotated[
        Literal["linear", "mlp", "cross-stitch"],
        Flag(
            "One linear layer; 512 units with ReLU before it; or a branch for each finding, "
            "mixed by learned units.",
            panel=MODEL,
        ),
    ] = "linear"

    image_size: Annotated[
        int | None,
        Flag("Trained pixels, at most the stored ones. [as stored]", minimum=28, panel=INPUT),
    ] = None
    augment: Annotated[
        Literal["none", "standard", "paper"],
        Flag(
            "Random geometry and exposure: none, standard (mild), or that of the paper's authors.",
            panel=INPUT,
        ),
    ] = "standard"
    flip: Annotated[
        bool, Flag("Mirror at random as well; this mirrors the heart.", panel=INPUT)
    ] = False

    batch_size: Annotated[
        int, Flag("Radiographs in a step, over all devices.", minimum=2, panel=OPTIMISATION)
    ] = 32
    optimizer: Annotated[
        Literal["adamw", "sgd", "rmsprop"], Flag("Optimizer.", panel=OPTIMISATION)
    ] = "adamw"
    learning_rate: Annotated[
        float, Flag("Learning rate at its peak.", minimum=0, maximum=1e9, panel=OPTIMISATION)
    ] = 3e-4
    weight_decay: Annotated[
        float, Flag("Decoupled for adamw.", minimum=0, maximum=1e9, panel=OPTIMISATION)
    ] = 1e-2
    schedule: Annotated[
        Literal["cosine", "constant"],
        Flag("Learning rate after the warm-up.", panel=OPTIMISATION),
    ] = "cosine"
    warmup_steps: Annotated[
        int, Flag("Steps of linear warm-up.", minimum=0, panel=OPTIMISATION)
    ] = 20
    clip_grad_norm: Annotated[
        float, Flag("Largest norm of the gradient; 0: any.", minimum=0, panel=OPTIMISATION)
    ] = 0.0
    ema: Annotated[
        float,
        Flag(
            "Decay of an average of the weights, which is then validated and kept as the best; "
            "0: none.",
            minimum=0,
            maximum=0.99999,
            panel=OPTIMISATION,
        ),
    ] = 0.0

    loss: Annotated[Literal["bce", "focal", "asymmetric"], Flag("Loss of a label.", panel=RARE)] = (
        "bce"
    )
    loss_option: Annotated[
        tuple[str, ...],
        Flag(
            "A parameter of the loss: focal has gamma, asymmetric gamma-positive, gamma-negative "
            "and margin; may be repeated.",
            metavar="KEY=VALUE",
            panel=RARE,
        ),
    ] = ()
    pos_weight_power: Annotated[
        float,
        Flag(
            "Positives of a finding weigh (negatives / positives) to this power: 0 alike, "
            "1 balanced.",
            minimum=0,
            maximum=1,
            panel=RARE,
        ),
    ] = 0.0
    logit_adjustment: Annotated[
        float,
        Flag(
            "Add so much of the log odds of each finding's prevalence to its logits in training; "
            "1 is Menon's.",
            minimum=0,
            maximum=10,
            panel=RARE,
        ),
    ] = 0.0
    sampling: Annotated[
        Literal["uniform", "balanced"],
        Flag(
            "Every radiograph once an epoch, or drawn so that every finding comes equally often.",
            panel=RARE,
        ),
    ] = "uniform"

    device: Device = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Flag("auto: bf16 where it is faster; on a CPU that is measured.", panel=HARDWARE),
    ] = "auto"
    cache: Annotated[
        Literal["auto", "device", "host", "none"],
        Flag(
            "Where the images are kept: on the device, in main memory, or in their files (which "
            "the system caches); auto: on a GPU when they fit.",
            panel=HARDWARE,
        ),
    ] = "auto"
    grad_accum_steps: Annotated[
        int,
        Flag(
            "Compute a step in so many parts, to save memory; batch norm sees each alone.",
            minimum=1,
            panel=HARDWARE,
        ),
    ] = 1
    compile: Annotated[
        bool, Flag("Compile the model first; pays on long runs.", panel=HARDWARE)
    ] = False
    deterministic: Annotated[
        bool,
        Flag("Only kernels that give the same bits every time; slower on CUDA.", panel=HARDWARE),
    ] = False
    sync_batchnorm: Annotated[
        bool, Flag("Batch norm over all processes of a run; CUDA only.", panel=HARDWARE)
    ] = False


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Everything that determines a training run; a run's `config.toml` is one of these."""

    out: Annotated[
        Path | None,
        Flag("Run folder. [runs/<time>-<backbone>-<weighter>]", values_from="out"),
    ] = None
    resume: Annotated[
        Path | None,
        Flag(
            "Go on with an interrupted run, exactly where it ended; auto: with that in --out, or "
            "begin it there.",
            metavar="RUN|auto",
            values_from="run",
        ),
    ] = None
    weighter: Annotated[str, Flag("How the findings' losses are weighted.")] = "deepchest"
    weighter_option: Annotated[
        tuple[str, ...], Flag("A parameter of the weighter; may be repeated.", metavar="KEY=VALUE")
    ] = ()
    tensorboard: Annotated[bool, Flag("Also log for TensorBoard, in the run's folder.")] = False
    seed: Seed = 0
