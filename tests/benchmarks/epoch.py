"""What an epoch of the training loop costs over the bare model step.

On a GPU this is also the rate with synthetic tensors and no loading.
"""

from bare_step import BareStep
from interleaved import compare
from our_epoch import prepared, read_options


def main() -> None:
    options = read_options(__doc__, images=160, rounds=15)
    with prepared(options) as (_, epoch):
        config = epoch.trainer.components.config
        bare = BareStep(config, epoch.images // config.batch_size)
        compare({"an epoch of deepchest train": epoch, "the bare step": bare}, options.rounds)


if __name__ == "__main__":
    main()
