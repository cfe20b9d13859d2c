"""An epoch of the paper's setting against the arrangement of its authors' training."""

from interleaved import compare
from our_epoch import prepared, read_options
from reference_arrangement import ReferenceRun


def main() -> None:
    options = read_options(__doc__, images=160, rounds=5)
    with prepared(options, head="mlp", augment="paper", optimizer="rmsprop") as (found, epoch):
        setup = epoch.trainer.components
        reference = ReferenceRun(
            found.source,
            options.backbone,
            options.size,
            options.batch,
            setup.steps_per_epoch,
            setup.device,
        )
        compare({"deepchest": epoch, "the reference's arrangement": reference}, options.rounds)


if __name__ == "__main__":
    main()
