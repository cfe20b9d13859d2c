"""Small networks of transformers, saved as its repositories are; nothing is fetched."""

import json
from pathlib import Path

TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
}  # fmt: skip
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}
WINDOWS = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}
# RAD-DINO's configuration as it is published, but for its width, depth and number of heads
RAD_DINO = {
    "model_type": "dinov2", "attention_probs_dropout_prob": 0.0, "drop_path_rate": 0.0,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "hidden_size": 32, "image_size": 518,
    "initializer_range": 0.02, "layer_norm_eps": 1e-06, "layerscale_value": 1.0, "mlp_ratio": 4,
    "num_attention_heads": 2, "num_channels": 3, "num_hidden_layers": 2, "patch_size": 14,
    "qkv_bias": True, "use_swiglu_ffn": False,
}  # fmt: skip
# by the name in the tests: model type, and what differs from the defaults
CONFIGS = {
    "rad-dino": RAD_DINO,
    "registers": {
        "model_type": "dinov2_with_registers", **TINY,
        "patch_size": 14, "image_size": 56, "num_register_tokens": 4,
    },
    "dinov3": {"model_type": "dinov3_vit", **TINY, "num_register_tokens": 4, "image_size": 64},
    "dinov3-convnext": {"model_type": "dinov3_convnext", **STAGES},
    "vit": {"model_type": "vit", **TINY, "image_size": 64},
    "beit": {
        "model_type": "beit", **TINY, "image_size": 64, "use_relative_position_bias": True,
        "use_absolute_position_embeddings": True,
    },
    "swin": {"model_type": "swin", "image_size": 64, **WINDOWS},
    "convnext": {"model_type": "convnextv2", **STAGES},
    "clip": {
        "model_type": "clip", "text_config": {**TINY, "bos_token_id": 0, "eos_token_id": 1},
        "vision_config": {**TINY, "patch_size": 16, "image_size": 64},
    },
    "siglip": {"model_type": "siglip_vision_model", **TINY, "image_size": 64},
}  # fmt: skip
MEAN, STD = 0.5307, 0.2583  # RAD-DINO's


def configuration(kind):
    """Return the configuration of one of the networks above."""
    from transformers import CONFIG_MAPPING

    values = dict(CONFIGS[kind])
    return CONFIG_MAPPING[values["model_type"]].from_dict(values)


def save_folder(folder: Path, kind: str) -> Path:
    """Write a network with random weights: config.json, its processor and safetensors."""
    import torch
    from transformers import AutoModel

    torch.manual_seed(1)
    network = AutoModel.from_config(configuration(kind))
    with torch.no_grad():  # biases, scales and tokens that begin as zeros or ones would hide errors
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    write_processor(folder, [MEAN] * 3, [STD] * 3)
    return folder


def write_processor(folder: Path, mean: object, std: object, **more: object) -> None:
    values = {"image_processor_type": "BitImageProcessor", "do_resize": False,
              "do_center_crop": False, "image_mean": mean, "image_std": std, **more}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
