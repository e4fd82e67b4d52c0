"""Conversion: the same weights under another attention, deviations and features of its own, and what does not fit."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn import catalogue
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.mimicry import Mimicry
from jattn.models.decoder import DecoderConfig
from jattn.models.encoder_decoder import EncoderDecoderConfig
from jattn.models.vision_transformer import VisionTransformerConfig
from jattn.part import Place, Side, Variables
from jattn.parts.features.elu import Elu
from jattn.parts.features.hedgehog import Hedgehog
from jattn.parts.features.log_normal import LogNormal
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.normalizers.sparsemax import Sparsemax
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.alibi import Alibi
from jattn.training import checkpoint, convert, evaluate, loop, metrics, state
from jattn.training.objectives.distillation import Distillation
from jattn.training.objectives.penalized import Penalized
from jattn.training.run import Run
from jattn.training.sources.text import Text
from jattn.training.windows import batches

# the last block has no feed-forward layer, so that its arrays lie apart from the others'
MODEL = DecoderConfig(width=8, depth=3, pruned=1)


@pytest.fixture(scope="module")
def began(tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_bytes(b"the cat sat on the mat and the dog sat on the log\n" * 30)
    return Run(model=MODEL, source=Text((str(text),)), steps=20, batch=2, context=8, evaluate_every=20)


@pytest.fixture(scope="module")
def trained(began, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "softmax"
    loop.fit(began, directory)
    return directory


def held(directory, run):
    reached = checkpoint.load(directory, run).state
    return state.of_model(Variables(reached.params, reached.buffers))


def named(tree):
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.slow
def test_weights_are_the_same_and_training_goes_on_from_them(began, trained, tmp_path):
    run = dataclasses.replace(convert.linear(began, Elu()), seed=5)
    assert run.model.attention == LinearAttention(Elu(), position=Rotary()) and run.steps == 2
    reached = convert.convert(trained, began, run, tmp_path / "new")
    was, new = held(trained, began), held(tmp_path / "new", run)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), was.params, new.params))
    # the last evaluation of a run is of all that is held out
    assert reached.softmax == pytest.approx(metrics.read(trained)[-1]["heldout_loss"], rel=1e-5)
    assert reached.converted == pytest.approx(evaluate.held_out_loss(run, was)) != reached.softmax
    assert reached.distilled is reached.mimicry is None
    # read back as any run is
    assert checkpoint.read_run(tmp_path / "new", catalogue.find) == run
    loop.resume(run, tmp_path / "new")
    first = metrics.read(tmp_path / "new")[0]["loss"]
    batch = batches(run.source.train(8, 5), 2, 5)[0]
    assert first == pytest.approx(float(run.objective(state.forward(run), was, batch, None)[0]), rel=1e-5)
    assert int(checkpoint.load(tmp_path / "new", run).state.step) == 2


@pytest.mark.slow
def test_deviations_are_those_of_each_layer_under_softmax(began, trained, tmp_path):
    run = convert.linear(began, LogNormal())
    convert.convert(trained, began, run, tmp_path / "new")
    found = {name: x for name, x in named(held(tmp_path / "new", run).buffers).items() if "deviation" in name}
    # two layers that repeat, and the pruned one
    assert sorted(x.shape for x in found.values()) == [(), (), (2,), (2,)]
    every = np.concatenate([np.ravel(x) for x in found.values()])
    assert (every > 0).all() and len(set(every)) == 6
    params = held(trained, began).params
    tokens = batches(began.source.train(8, 0), 2, 0)[0]["tokens"][:, :-1]
    x = np.asarray(params["embedding"]["table"])[tokens]
    x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6)
    block = named(params["stack"]["repeat"][0])
    x = x * np.asarray(block["['before_mixer']['inner']['scale']"])[0]
    for role in ("query", "key"):
        vectors = (x @ block[f"['mixer']['projecting']['{role}']"][0]).reshape(2, 8, 2, 4)
        turned = [
            Rotary().turn({}, jnp.asarray(each), Side(each, np.arange(8), np.arange(8), None, None, 8, {}),
                          Place(np.arange(2), 2, 2))
            for each in vectors
        ]  # fmt: skip
        (value,) = (x for name, x in found.items() if "repeat" in name and f"{role}_deviation" in name)
        assert value[0] == pytest.approx(np.std(np.stack(turned)), rel=1e-4)


@pytest.mark.slow
def test_distillation_trains_the_maps_alone_and_goes_on_where_it_was_stopped(began, trained, tmp_path):
    run = convert.linear(began, Hedgehog())
    plain = convert.convert(trained, began, run, tmp_path / "plain")
    reached = convert.convert(trained, began, run, tmp_path / "new", distill=3)
    assert (reached.softmax, reached.converted) == (plain.softmax, plain.converted)
    before, after = (named(held(tmp_path / name, run).params) for name in ("plain", "new"))
    moved = {name for name in before if (before[name] != after[name]).any()}
    assert moved == {name for name in before if "'feature'" in name} and len(moved) == 4
    distilled = held(tmp_path / "new", run)
    assert reached.distilled == pytest.approx(evaluate.held_out_loss(run, distilled), rel=1e-5)
    # beside its teacher in one model, the student that was made is as far from it as was told
    place = tmp_path / "new" / convert.DISTILLATION
    teaching = checkpoint.read_run(place, catalogue.find)
    assert teaching.objective == Distillation() and teaching.steps == 3
    assert teaching.model.attention == Mimicry(began.model.attention, run.model.attention)
    assert reached.mimicry == pytest.approx(metrics.read(place)[-1]["heldout_loss"], rel=1e-6)
    # stopped between the two runs
    for name in (checkpoint.RUN_FILE, metrics.FILE):
        (tmp_path / "new" / name).unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "new" / checkpoint.FOLDER)
    again = convert.convert(trained, began, run, tmp_path / "new", distill=3)
    # rows keep seven digits
    assert again == pytest.approx(reached, rel=1e-6)
    shutil.rmtree(tmp_path / "new" / checkpoint.FOLDER)
    (tmp_path / "new" / checkpoint.RUN_FILE).unlink()
    with pytest.raises(FileExistsError, match="goes on with its own distillation"):
        convert.convert(trained, began, run, tmp_path / "new", distill=4)


def test_what_an_attention_sees_decides_the_order(began):
    images = dataclasses.replace(began, model=VisionTransformerConfig(), objective=Penalized(), init_from="elsewhere")
    made = convert.linear(images, Elu())
    assert made.model.attention == LinearAttention(Elu(), order="full") and made.init_from is None


@pytest.mark.parametrize(
    "attention, told",
    [
        (Attention(mask=Causal(), normalizer=Sparsemax()), "got Sparsemax, Causal"),
        (Attention(mask=Window(4)), "got Softmax, Window"),
        (Attention(score=Alibi(), mask=Causal()), "got Alibi, Softmax, Causal"),
        (Attention(mask=Causal(), scale=1.0), "got Softmax, Causal, scale 1.0"),
        (LinearAttention(), "with attention LinearAttention"),
    ],
)
def test_an_attention_that_is_more_than_softmax_is_refused(began, attention, told):
    with pytest.raises(ValueError, match=told):
        convert.linear(dataclasses.replace(began, model=dataclasses.replace(MODEL, attention=attention)), Elu())


@pytest.mark.slow
def test_what_does_not_fit_is_refused_and_leaves_no_trace(began, trained, tmp_path):
    run, new = convert.linear(began, Elu()), tmp_path / "new"

    def model(**options):
        return dataclasses.replace(run, model=dataclasses.replace(run.model, **options))

    with pytest.raises(ValueError, match=r"float32\[256, 8\] there and float32\[256, 16\] in the new one"):
        convert.convert(trained, began, model(width=16), new)
    with pytest.raises(ValueError, match=r"float32\[2, 8\] there and float32\[3, 8\] in the new one"):
        convert.convert(trained, began, model(depth=4), new)
    with pytest.raises(ValueError, match="converted to linear attention, got Attention"):
        convert.convert(trained, began, dataclasses.replace(began, steps=1), new, distill=1)
    with pytest.raises(ValueError, match="got Elu, which learn nothing"):
        convert.convert(trained, began, run, new, distill=1)
    with pytest.raises(ValueError, match="distill must be a whole number of at least 0, got -1"):
        convert.convert(trained, began, run, new, distill=-1)
    with pytest.raises(FileNotFoundError, match="must hold checkpoints, got"):
        convert.convert(tmp_path / "none", began, run, new)
    with pytest.raises(FileExistsError, match="must hold no other run"):
        convert.convert(trained, began, run, trained)
    assert not new.exists()
    with pytest.raises(
        ValueError, match="one softmax attention in each layer, got EncoderDecoderConfig with attention"
    ):
        convert.linear(dataclasses.replace(began, model=EncoderDecoderConfig()), Elu())
