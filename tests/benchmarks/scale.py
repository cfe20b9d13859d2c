"""The arithmetic of `docs/scaling.md`: what 900,000 radiographs take, on 1, 8 and 64 GPUs.

Prints the tables of the page as they stand there; a test compares them. Nothing is measured here:
rates of GPUs are given, and the rate of preparation is that of `preparing.py`.
"""

IMAGES = {
    "NIH ChestX-ray14": 112_120,
    "CheXpert": 224_316,
    "MIMIC-CXR": 377_110,
    "PadChest": 160_868,
}
SIZES, GPUS, PER_NODE = (224, 512), (1, 8, 64), 8
METADATA = 431  # bytes an image of a shard of 512 images with 14 findings, all but its pixels
RATE = 1000  # images/s that a GPU trains on at 224 px: an example
RATES = {224: RATE, 512: round(RATE * 224**2 / 512**2)}  # at the same rate of pixels
EPOCHS = 20
PREPARED = 159 / 2  # 1024 px PNG files a second and core: `preparing.py`, two cores
CORES = (1, 16, 64)


def total_bytes(images: int, size: int) -> int:
    """Return the bytes of shards: a byte a pixel, and what is known of each image."""
    return images * (size * size + METADATA)


def epoch_seconds(images: int, gpus: int, rate: float) -> float:
    """Return how long an epoch takes where `gpus` train on `rate` images a second each."""
    return images / (gpus * rate)


def read_rate(gpus: int, rate: float, size: int) -> float:
    """Return the bytes a second that `gpus` read together."""
    return gpus * rate * size * size


def tables() -> list[list[str]]:
    """Return the tables of the page, each as its lines of Markdown."""
    together = {**IMAGES, "all four": sum(IMAGES.values())}
    disk = ["| data set | images | 224 px | 512 px |", "|---|---|---|---|"]
    for name, images in together.items():
        sizes = " | ".join(f"{total_bytes(images, size) / 1e9:.1f} GB" for size in SIZES)
        disk.append(f"| {name} | {images:,} | {sizes} |")
    images = together["all four"]
    reading = [
        "| size | GPUs | images/s, each | read together | read by a node | an epoch | "
        f"{EPOCHS} epochs |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        for gpus in GPUS:
            rate = RATES[size]
            both = (read_rate(n, rate, size) for n in (gpus, min(gpus, PER_NODE)))
            seconds = epoch_seconds(images, gpus, rate)
            reading.append(
                f"| {size} px | {gpus} | {rate:,} | "
                + " | ".join(f"{one / 1e9:.2f} GB/s" for one in both)
                + f" | {seconds / 60:.1f} min | {EPOCHS * seconds / 3600:.1f} h |"
            )
    preparing = ["| cores | hours |", "|---|---|"]
    preparing += [f"| {cores} | {images / PREPARED / cores / 3600:.2f} |" for cores in CORES]
    return [disk, reading, preparing]


if __name__ == "__main__":
    for table in tables():
        print("\n".join(table), end="\n\n")
