"""Mega's runs by name, in the sizes of its paper, and some that a laptop trains.

Source: Ma, Zhou, Kong, He, Gui, Neubig, May, Zettlemoyer, "Mega: Moving Average Equipped Gated Attention", ICLR 2023,
arXiv:2209.10655, tables 8 and 9, by the released commands where these differ (WikiText-103: values and feed-forward
layers of 2048, a clip of 0.25 in both language models).
Departs: a rate climbs from its first share, where there it climbs from 1e-7; text has no padding token, whose row is
0 there. What a preset leaves out is said beside it.
"""

from typing import Any

from jattn.layers.heads.mega import Mega
from jattn.layers.heads.smoothed import Smoothed
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.recurrence import Recurrence
from jattn.models.decoder import DecoderConfig
from jattn.models.encoder import EncoderConfig
from jattn.parts.caches.recent import Recent
from jattn.parts.masks import Full
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.laplace import Laplace
from jattn.parts.scores.per_visible import PerVisible
from jattn.parts.scores.relative_bias import RelativeBias
from jattn.parts.scores.rotary_bias import RotaryBias
from jattn.parts.transitions.damped_ema import DampedEma
from jattn.training.objectives.classification import Classification
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.dataset import Dataset
from jattn.training.sources.image_dataset import ImageDataset
from jattn.training.sources.labeled_dataset import LabeledDataset
from jattn.training.sources.listops import ListOps

# of every model here: layers with biases, twice as wide inside as the stream, as values are too
BLOCKS: dict[str, Any] = {"heads": 1, "feedforward": "biased", "activation": "silu", "expansion": 2, "epsilon": 1e-5}


def adam(rate: float, decay: float, warm_up: float, clip: float = 1.0) -> AdamW:
    """Up in a line over a share of the steps, down in a line to 0; all that is learned decays."""
    shape: dict[str, Any] = {"warm_up": warm_up, "final": 0, "fall": "linear"}
    return AdamW(rate, second_moment=0.98, decay=decay, clip=clip, decayed="all", **shape)


def softmax(length: int, chunk: int | None) -> Attention:
    """A learned bias of each distance in lines of a length, or in chunks, beyond which no row sees."""
    return Attention(RelativeBias(chunk or length), Full() if chunk is None else BlockDiagonal(chunk))


def laplace(length: int, chunk: int | None) -> Attention:
    """The same of weights that are functions of one logit each, divided by the keys that its row sees."""
    score, mask = (PerVisible(), RelativeBias(chunk or length)), Full() if chunk is None else BlockDiagonal(chunk)
    return Attention(score, mask, Laplace(), scale=1)


def encoder(width: int, depth: int, shared: int, truncation: int | None, dropout: float, **own: Any) -> EncoderConfig:
    """Averages hear both directions; the mean of all tokens goes through a layer to the classes."""
    both = Recurrence(backward=DampedEma(), truncation=truncation)
    return EncoderConfig(
        width=width,
        depth=depth,
        projection=Mega(shared, recurrence=both, dropout=dropout),
        dropout=dropout,
        embedding_deviation=width**-0.5,
        classifier_width=2 * width,
        **BLOCKS,
        **own,
    )


def arena(name: str, chunk: int | None, longest: int | None) -> dict[str, Run]:
    """Tasks of the Long Range Arena, whole or in chunks, of which those of Path-X are the longest.

    Retrieval is left out, since no objective here compares two texts; so is the quadratic warm-up of Path-X.
    """
    words: dict[str, Any] = {"truncation": 1024, "dropout": 0.1, "norm_place": "after"}
    pixels: dict[str, Any] = {"dropout": 0.0, "norm": "batch", "reads": "numbers"}
    gray: dict[str, Any] = {"channels": 1, "trained_on": "middle"}
    photos = gray | {"classes": 10, "train_split": "train[:90%]", "held_out_split": "test"}
    paths = gray | {"classes": 2, "train_split": "hard[:80%]", "held_out_split": "hard[80%:90%]"}
    told: dict[str, Any] = {"objective": Classification(), "evaluate_every": 2500}
    return {
        f"{name}-listops": Run(
            encoder(
                80, 6, 64, attention=softmax(2000, chunk), norm="layer", vocabulary=ListOps().vocabulary, classes=10,
                **words,
            ),
            source=ListOps(),
            optimizer=adam(1e-3, 0.01, 3 / 90),
            steps=90_000,
            batch=64,
            context=2000,
            **told,
        ),
        # bytes of film reviews
        f"{name}-text": Run(
            encoder(128, 4, 64, attention=softmax(4000, chunk), norm="scale", vocabulary=256, classes=2, **words),
            source=LabeledDataset("imdb_reviews", classes=2, longer="cut"),
            optimizer=adam(4e-3, 0.01, 10 / 25),
            steps=25_000,
            batch=50,
            accumulate=2,
            context=4000,
            **told,
        ),
        # gray pixels, here of -1 to 1, there less 0.48 and by 0.24
        f"{name}-image": Run(
            encoder(160, 8, 96, None, attention=laplace(1024, chunk), classes=10, **pixels),
            source=ImageDataset("cifar10", side=32, **photos),
            optimizer=adam(1e-2, 0.02, 9 / 180),
            steps=180_000,
            batch=50,
            context=1024,
            **told,
        ),
        f"{name}-pathfinder": Run(
            encoder(128, 6, 64, None, attention=laplace(1024, chunk), classes=2, **pixels),
            source=ImageDataset("pathfinder32", side=32, **paths),
            optimizer=adam(1e-2, 0.01, 50 / 250),
            steps=250_000,
            batch=128,
            context=1024,
            **told,
        ),
        f"{name}-path-x": Run(
            encoder(64, 4, 32, 4096, attention=laplace(128**2, longest), classes=2, **pixels),
            source=ImageDataset("pathfinder128", side=128, **paths),
            optimizer=adam(1e-2, 0.01, 25 / 125),
            steps=125_000,
            batch=128,
            accumulate=8,
            context=128**2,
            **told,
        ),
    }  # fmt: skip


def speech(width: int, shared: int, rate: float) -> Run:
    """Ten commands by 16,000 samples a second, prepared as rows of 16 bits by who trains; padding is no token here."""
    return Run(
        encoder(
            width, 6, shared, 1000, 0.0, attention=laplace(16_000, 1000), norm="batch", reads="numbers", classes=10
        ),
        objective=Classification(),
        source=LabeledDataset("speech_commands_ten", classes=10, longer="cut", divisor=2**15),
        optimizer=adam(rate, 0.01, 10 / 250),
        steps=250_000,
        batch=20,
        context=16_000,
        evaluate_every=2500,
    )


def decoder(width: int, depth: int, mega: Mega, attention: Attention, **own: Any) -> DecoderConfig:
    """A language model: layer norms before each half, and a last one that learns nothing."""
    norms: dict[str, Any] = {"norm": "layer", "last_gains": "none"}
    return DecoderConfig(width=width, depth=depth, projection=mega, attention=attention, **BLOCKS, **norms, **own)


def chunked(chunk: int, dropout: float = 0.0) -> Attention:
    """Each row sees those before it in its chunk, with a bias of any distance; decoding keeps as many tokens."""
    return Attention(RotaryBias(), Causal() & BlockDiagonal(chunk), cache=Recent(chunk), dropout=dropout)


MEGA = {
    # in the size of the default, on the embedded text: minutes on two CPU cores
    "mega": Run(decoder(128, 4, Mega(64), Attention(RotaryBias(), Causal())), steps=2000),
    "mega-chunk": Run(decoder(128, 4, Mega(64), chunked(32)), steps=2000),
    # the default with one of Mega's moving averages in front of each attention, and nothing else of it
    "smoothed": Run(DecoderConfig(projection=Smoothed())),
    **arena("mega", None, None),
    **arena("mega-chunk", 128, 4096),
    "mega-sc-base": speech(60, 30, 1e-2),
    "mega-sc-big": speech(72, 36, 8e-3),
    # on a TPU slice, both. A line is as long as the paper's longest, where it has 2 to 4 chunks there, or 2 to 6, drawn
    # anew each time; the 8192 tokens that an average hears are no fewer. Tokens are prepared by who trains: the bytes
    # that occur, numbered, and words by how frequent they are
    "mega-enwik8": Run(
        decoder(512, 12, Mega(128, dropout=0.1), chunked(2048), dropout=0.1, vocabulary=205, embedding="tied"),
        source=Dataset("enwik8_symbols", vocabulary=205),
        optimizer=adam(5e-3, 0.1, 24 / 400, clip=0.25),
        steps=400_000,
        batch=8,
        context=4 * 2048,
        dtype="bfloat16",
        remat="block",
        evaluate_every=5000,
    ),
    # without the dropout of 0.2 in front of the head
    "mega-wikitext103": Run(
        decoder(
            1024,
            16,
            Mega(256, dropout=0.3, value_dropout=0.1),
            chunked(1024, dropout=0.1),
            dropout=0.3,
            hidden_dropout=0.1,
            vocabulary=267_735,
            embedding="adaptive",
        ),
        source=Dataset("wikitext103_words", vocabulary=267_735),
        optimizer=adam(5e-3, 0.1, 24 / 400, clip=0.25),
        steps=400_000,
        batch=24,
        context=6 * 1024,
        dtype="bfloat16",
        remat="block",
        evaluate_every=5000,
    ),
}
