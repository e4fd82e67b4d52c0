"""Runs by name; those of entropy-guided attention by its names, and by plain ones.

Source: Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025, arXiv:2501.03489, table 2 and section 4 (what
each block keeps: softmax SM, layer norm LN, GELU G, ReLU R, scaled ScFFN or fused ScFuFFN feed-forward layers,
temperatures SM(t), entropy regularization EReg); Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021,
arXiv:2010.11929, tables 1 and 3 (ViT-B/16 on ImageNet); Qin et al., "Scaling TransNormer to 175 Billion Parameters",
2023, arXiv:2307.14995 (TransNormerLLM); Choromanski et al., "Rethinking Attention with Performers", ICLR 2021,
arXiv:2009.14794, figure 5 and appendix A.2 (Performer on PG-19).
"""

import dataclasses
import difflib
import re

from jattn.layers.heads.gated_norm import GatedNorm
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.models.decoder import DecoderConfig
from jattn.models.vision_transformer import VisionTransformerConfig
from jattn.parts.decays.lightning import Lightning
from jattn.parts.features.favor import Favor
from jattn.parts.features.swish import Swish
from jattn.parts.masks.causal import Causal
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.temperature import Temperature
from jattn.training.mega_presets import MEGA
from jattn.training.objectives.classification import Classification
from jattn.training.objectives.penalized import Penalized
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from jattn.training.sources.dataset import Dataset
from jattn.training.sources.digits import Digits
from jattn.training.sources.image_dataset import ImageDataset

PRESETS = {
    # six minutes on two CPU cores
    "default": Run(),
    # under a minute: a loss that shows whether a change learns at all
    "tiny": Run(model=DecoderConfig(width=64, depth=2), steps=800, evaluate_every=200),
    # a TPU slice: 303 million parameters on windows of 65,536 tokens, split over all chips
    "long_context": Run(
        model=DecoderConfig(width=1024, depth=24, heads=8),
        optimizer=AdamW(rate=3e-4),
        batch=1,
        context=65536,
        dtype="bfloat16",
        remat="block",
        mesh=Mesh(data=1, context=-1),
    ),
    # seconds: every stage once
    "smoke": Run(
        model=DecoderConfig(width=16, depth=2),
        steps=20,
        batch=4,
        context=32,
        evaluate_every=10,
        checkpoint_every=10,
    ),
    # a minute: handwritten digits, which scikit-learn brings
    "digits": Run(
        model=VisionTransformerConfig(width=64, heads=4, norm="layer", activation="gelu"),
        objective=Classification(),
        source=Digits(),
        optimizer=AdamW(rate=1e-3),
        steps=1000,
        batch=64,
        evaluate_every=250,
    ),
    # ViT-B/16 on ImageNet by its paper, without dropout: 300 epochs on a TPU slice
    "vit-b": Run(
        model=VisionTransformerConfig(
            width=768,
            depth=12,
            heads=12,
            image=224,
            patch=16,
            channels=3,
            classes=1000,
            norm="layer",
            activation="gelu",
        ),
        objective=Classification(),
        source=ImageDataset(),
        optimizer=AdamW(rate=3e-3, second_moment=0.999, decay=0.3, warm_up=10_000 / 93_836),
        steps=93_836,
        batch=4096,
        dtype="bfloat16",
        remat="block",
    ),
    # blocks of TransNormerLLM, in the size of the default: decay takes the place of positions
    "transnormer": Run(
        model=DecoderConfig(
            attention=LinearAttention(Swish(), Lightning()),
            projection=GatedNorm(),
            norm="simple_rms",
            feedforward="gated",
            activation="identity",
            expansion=3,
        ),
    ),
    # the Performer of that paper on PG-19, without dropout and with rotary positions: on a TPU slice. Steps, batch and
    # context are ours, and pieces are prepared by who trains: rows of tokens below 32,768
    "performer-pg19": Run(
        model=DecoderConfig(
            width=512,
            depth=6,
            heads=8,
            attention=LinearAttention(Favor(), position=Rotary()),
            norm="layer",
            activation="gelu",
            vocabulary=32768,
        ),
        source=Dataset("pg19_pieces", vocabulary=32768),
        optimizer=AdamW(rate=1e-3, second_moment=0.98, epsilon=1e-9, warm_up=0, final=1, clip=0.5),
        steps=100_000,
        batch=64,
        context=8192,
        dtype="bfloat16",
        remat="block",
    ),
    # a billion parameters, for a TPU slice or GPUs: `jattn plan --preset billion` says which mesh holds it
    "billion": Run(
        model=DecoderConfig(width=2048, depth=18, heads=16, vocabulary=32768),
        optimizer=AdamW(rate=3e-4),
        batch=64,
        context=8192,
        dtype="bfloat16",
        remat="block",
    ),
}


# what each block of entropy-guided attention has; every one also with its deepest feed-forward layers pruned, by
# --model.pruned
BLOCKS = {
    "SM+LN+G": DecoderConfig(norm="layer", activation="gelu"),
    "SM+LN+R": DecoderConfig(norm="layer", activation="relu"),
    "SM+LN": DecoderConfig(norm="layer", activation="identity"),
    "SM+G": DecoderConfig(norm="none", activation="gelu"),
    "SM+R": DecoderConfig(norm="none", activation="relu"),
    "SM": DecoderConfig(norm="none", activation="identity"),
    "SM+ScFFN": DecoderConfig(norm="none", activation="identity", residual="scaled"),
    "SM+ScFuFFN": DecoderConfig(norm="none", activation="identity", residual="scaled", feedforward="fused"),
}
TEMPERED = dataclasses.replace(
    BLOCKS["SM+ScFuFFN"], attention=Attention(score=Temperature(length=128), mask=Causal(), position=Rotary())
)
ENTROPY_GUIDED = {name: Run(model=model, optimizer=AdamW(rate=1e-3)) for name, model in BLOCKS.items()} | {
    "SM(t)+ScFuFFN": Run(model=TEMPERED, optimizer=AdamW(rate=1e-3)),
    "EReg(SM(t)+ScFuFFN)": Run(model=TEMPERED, optimizer=AdamW(rate=1e-3), objective=Penalized()),
}
# the same in letters that no shell reads
PRESETS |= {re.sub(r"[+(]", "-", name).replace(")", "").lower(): run for name, run in ENTROPY_GUIDED.items()}
PRESETS |= ENTROPY_GUIDED | MEGA


def preset(name: str) -> Run:
    """The run of that name."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 3, 0.4)
        cure = f"did you mean {' or '.join(near)}?" if near else "take one of these."
        raise ValueError(f"A preset must be one of {', '.join(PRESETS)}, got {name!r}; {cure}")
    return PRESETS[name]
