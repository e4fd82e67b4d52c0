"""FLOPs of a decoder as the tables of entropy-guided attention count them: blocks alone, by formula.

Source: Jha, Reagen, "Entropy-Guided Attention for Private LLMs", 2025, arXiv:2501.03489, tables 3 to 6 (columns FFN and
Attn); the formulas were fitted to these columns, which they give to the printed digit but for one entry, 7.3B at 512
tokens, where they give 7.2B.
"""

from jattn.models.decoder import DecoderConfig


def feed_forward_flops(config: DecoderConfig, tokens: int) -> int:
    """16 width² tokens for each layer of four times the width, 2 width² tokens for a fused one, 0 for a pruned one.

    A gated one, which the tables do not have, takes half as many again as a full one; biases are left out.
    """
    full = 4 * config.expansion
    each = {"fused": 2, "full": full, "biased": full, "gated": 6 * config.expansion}[config.feedforward]
    return (config.depth - config.pruned) * each * config.width**2 * tokens


def attention_flops(config: DecoderConfig, tokens: int) -> int:
    """8 width² tokens + 3 tokens² width a layer: all pairs in queries times keys, half of them in weights times values.

    This is plain multi-head attention of that width, whatever heads share and masks leave out.
    """
    return config.depth * (8 * config.width**2 * tokens + 3 * tokens**2 * config.width)


def billions(flops: int) -> str:
    """As the tables print it."""
    return f"{flops / 1e9:.1f}B"
