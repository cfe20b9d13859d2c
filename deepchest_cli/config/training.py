"""The configuration of training: what all runs share, and that of `deepchest train`.

The defaults are the recipe `default`; a field's annotation is its flag.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from deepchest_cli.config.flags import DEFAULT_DATA, DataSets, Device, Flag, Seed


@dataclass(frozen=True)
class RunConfig:
    """The settings of a training run, without weighter, seed and folder."""

    data: DataSets = (str(DEFAULT_DATA),)
    source_sampling: Annotated[
        tuple[str, ...],
        Flag(
            "Of several data sets: natural, every radiograph once an epoch; balanced, equally many "
            "of each; or FOLDER=FACTOR, a data set's share times the factor; may be repeated.",
            metavar="SAMPLING",
        ),
    ] = ("natural",)
    tasks: Annotated[
        Literal["finding", "finding-by-source"],
        Flag(
            "What has a weight of its own: a finding, or each finding of each data set that "
            "labels it. The loss of a finding is then the sum of its means over the data sets, "
            "instead of the mean over all of them."
        ),
    ] = "finding"
    recipe: Annotated[
        str | None,
        Flag(
            "Values for the flags that are not given: quick, default, paper, transformer, probe, "
            "or a TOML file.",
            metavar="NAME|PATH",
            values_from="recipe",
        ),
    ] = None
    gradient_level: Annotated[
        Literal["features", "parameters"],
        Flag(
            "Where a weighter that needs task gradients takes them: at the last shared features, "
            "or at all shared parameters (one backward pass per finding)."
        ),
    ] = "features"
    epochs: Annotated[int, Flag("Passes over the training split.", minimum=1)] = 15
    max_steps: Annotated[int | None, Flag("Stop after this many steps.", minimum=1)] = None
    patience: Annotated[
        int,
        Flag("Stop after this many epochs without a better validation AUROC; 0: never.", minimum=0),
    ] = 5
    keep: Annotated[
        Literal["best", "last"],
        Flag(
            "Which epoch's model is kept: the best by validation, or the last, which is trained to "
            "the end whatever --patience says."
        ),
    ] = "best"
    device: Device = "auto"

    backbone: Annotated[
        str,
        Flag(
            "Any torchvision classifier, small_cnn, or a family's name; timm/NAME, hf/REPOSITORY "
            "(transformers), hf/FOLDER, xrv/NAME (torchxrayvision); FILE.py:FUNCTION runs code of "
            "your own.",
            metavar="BACKBONE",
            panel="Model",
        ),
    ] = "resnet50"
    backbone_sha256: str | None = None  # recorded: of the file of one's own backbone
    pool: Annotated[
        Literal["auto", "class-token", "pooled", "mean"],
        Flag(
            "What becomes of a transformer's tokens: the class token, the network's own pooled "
            "output, or the mean of the patches; auto: as the network was made."
        ),
    ] = "auto"
    weights: Annotated[
        str,
        Flag(
            "Initial weights: none; imagenet (or pretrained): those published for the backbone; a "
            "run or a file. auto: published ones where they can be had, else none.",
            metavar="NAME|PATH",
        ),
    ] = "auto"
    weights_sha256: str | None = None  # recorded: of what was loaded
    head: Annotated[
        Literal["linear", "mlp", "cross-stitch"],
        Flag(
            "One linear layer; 512 units with ReLU before it; or a branch for each finding, "
            "mixed by learned units."
        ),
    ] = "linear"

    freeze: Annotated[
        str | None,
        Flag(
            "Do not train the whole backbone, or its first N layers.",
            metavar="all|N",
            panel="Adaptation",
        ),
    ] = None
    unfreeze_epoch: Annotated[
        int | None, Flag("Train the frozen layers too from this epoch on.", minimum=2)
    ] = None
    layer_decay: Annotated[
        float,
        Flag(
            "Multiply the learning rate by this factor for each layer below the head; BEiT uses "
            "0.65 to 0.75.",
            minimum=0.01,
            maximum=1,
        ),
    ] = 1.0
    drop_path: Annotated[
        float,
        Flag(
            "Rate of stochastic depth in the last block, where the backbone has it; 0: its own.",
            minimum=0,
            maximum=0.9,
        ),
    ] = 0.0
    dropout: Annotated[
        float,
        Flag("Dropout of the features before the last layer of the head.", minimum=0, maximum=0.9),
    ] = 0.0

    image_size: Annotated[
        int | None,
        Flag("Pixels in training, at most the stored ones. [as stored]", minimum=28, panel="Input"),
    ] = None
    augment: Annotated[
        Literal["none", "standard", "paper"] | None,
        Flag(
            "Random geometry and exposure: none, standard (mild), or that of the paper's authors. "
            "[standard; none with --linear-probe]"
        ),
    ] = None
    flip: Annotated[bool, Flag("Mirror at random as well; this mirrors the heart.")] = False

    batch_size: Annotated[
        int, Flag("Radiographs per step, over all devices.", minimum=2, panel="Optimization")
    ] = 32
    optimizer: Annotated[Literal["adamw", "sgd", "rmsprop"], Flag("Optimizer.")] = "adamw"
    learning_rate: Annotated[float, Flag("Learning rate at its peak.", minimum=0, maximum=1e9)] = (
        3e-4
    )
    weight_decay: Annotated[float, Flag("Decoupled for adamw.", minimum=0, maximum=1e9)] = 1e-2
    schedule: Annotated[Literal["cosine", "constant"], Flag("Learning rate after the warm-up.")] = (
        "cosine"
    )
    warmup_steps: Annotated[int, Flag("Steps of linear warm-up.", minimum=0)] = 20
    clip_grad_norm: Annotated[
        float, Flag("Largest norm of the gradient; 0: no clipping.", minimum=0)
    ] = 0.0
    ema: Annotated[
        float,
        Flag(
            "Decay of an exponential moving average of the weights, which is then validated and "
            "saved as the best; 0: none.",
            minimum=0,
            maximum=0.99999,
        ),
    ] = 0.0

    loss: Annotated[
        Literal["bce", "focal", "asymmetric"], Flag("Loss per label.", panel="Rare findings")
    ] = "bce"
    loss_option: Annotated[
        tuple[str, ...],
        Flag(
            "A parameter of the loss: focal has gamma, asymmetric gamma-positive, gamma-negative "
            "and margin; may be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = ()
    pos_weight_power: Annotated[
        float,
        Flag(
            "Weight the positives of a finding by (negatives / positives) to this power: 0: not "
            "at all, 1: balanced.",
            minimum=0,
            maximum=1,
        ),
    ] = 0.0
    logit_adjustment: Annotated[
        float,
        Flag(
            "Add this times the log odds of each finding's prevalence to its logits in training; "
            "Menon et al. use 1.",
            minimum=0,
            maximum=10,
        ),
    ] = 0.0
    sampling: Annotated[
        Literal["uniform", "balanced"],
        Flag("Every radiograph once an epoch, or class-balanced: every finding equally often."),
    ] = "uniform"

    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Flag("auto: bf16 where it is faster; on a CPU that is measured.", panel="Hardware"),
    ] = "auto"
    cache: Annotated[
        Literal["auto", "device", "host", "none"],
        Flag(
            "Where images are cached: on the device, in main memory, or nowhere but by "
            "the operating system (none); auto: on a GPU when they fit."
        ),
    ] = "auto"
    grad_accum_steps: Annotated[
        int, Flag("Micro-batches per step, to save memory; batch norm sees each alone.", minimum=1)
    ] = 1
    grad_checkpoint: Annotated[
        bool, Flag("Compute activations again in the backward pass: less memory, slower.")
    ] = False
    compile: Annotated[bool, Flag("Compile the model first; pays on long runs.")] = False
    deterministic: Annotated[bool, Flag("Only deterministic kernels; slower on CUDA.")] = False
    sync_batchnorm: Annotated[bool, Flag("Batch norm over all processes of a run; CUDA only.")] = (
        False
    )

    track: Annotated[
        tuple[Literal["tensorboard", "mlflow", "wandb"], ...],
        Flag(
            "Also log settings, metrics, task weights, plots and checkpoint with this experiment "
            "tracker; may be repeated.",
            panel="Tracking",
        ),
    ] = ()


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Everything that determines a training run; a run's `config.toml` is one of these."""

    FIRST: ClassVar = (
        "data", "weighter", "weighter_option", "backbone", "weights", "epochs", "image_size",
        "batch_size", "learning_rate", "recipe", "device", "out", "resume", "seed",
    )  # fmt: skip

    out: Annotated[
        Path | None,
        Flag("Run folder. [runs/<time>-<backbone>-<weighter>]", values_from="out", panel=""),
    ] = None
    resume: Annotated[
        Path | None,
        Flag(
            "Resume an interrupted run exactly where it ended; auto: the run in --out, or begin "
            "it there.",
            metavar="RUN|auto",
            values_from="run",
        ),
    ] = None
    folds: Annotated[
        int | None,
        Flag(
            "Cross-validate by patient: train a model on each of this number of folds of all "
            "images, and score each image by the model that has not seen its patient.",
            minimum=2,
        ),
    ] = None
    fold: int | None = None  # recorded: which of the folds a run in the folder of a run is of
    linear_probe: Annotated[
        bool,
        Flag(
            "Train heads alone, on features that are computed once and kept in the user's cache: "
            "one head for each of 13 learning rates from 1/100 to 100 times --learning-rate; the "
            "best is kept."
        ),
    ] = False
    weighter: Annotated[
        str,
        Flag(
            "How the findings' losses are weighted; FILE.py:CLASS runs one of your own.",
            metavar="WEIGHTER",
        ),
    ] = "deepchest"
    weighter_sha256: str | None = None  # recorded: of the file of one's own weighter
    weighter_option: Annotated[
        tuple[str, ...], Flag("A parameter of the weighter; may be repeated.", metavar="KEY=VALUE")
    ] = ()
    seed: Seed = 0
