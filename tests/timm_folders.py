"""Repositories as they lie on the Hugging Face hub, with small networks of timm's families."""

import json

# architecture: what makes it small, and a size that fits shards of 32 px
SMALL = {
    "convnextv2_atto": ({"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]}, 32),
    "vit_tiny_patch16_224": ({"depth": 2, "embed_dim": 24}, 32),
    "swin_tiny_patch4_window7_224": (
        {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 3, 6]},
        32,
    ),
    "eva02_tiny_patch14_224": ({"depth": 2, "embed_dim": 48, "num_heads": 3}, 28),
    "test_efficientnet": ({}, 32),  # a block of each kind of EfficientNetV2
    "mobilenetv4_conv_small_050": ({}, 32),
    "coatnet_nano_rw_224": (
        {"embed_dim": [32, 32, 64, 64], "depths": [1, 1, 2, 1], "stem_width": [8, 16]},
        32,
    ),
    "vit_small_patch14_reg4_dinov2": ({"depth": 2, "embed_dim": 48, "num_heads": 3}, 28),
    "vit_small_patch16_dinov3": ({"depth": 2, "embed_dim": 48, "num_heads": 3}, 32),
}


def write_folder(folder, architecture):
    """Write a config.json as `timm.models.save_for_hf` does; return the name of the backbone."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"architecture": architecture, "model_args": SMALL.get(architecture, ({}, 0))[0]}
    content["pretrained_cfg"] = {"mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "config.json").write_text(json.dumps(content))
    return f"timm/local-dir:{folder}"
