"""Tests a whole run: what it leaves, that it repeats, and that it stops or refuses where it must."""

import dataclasses
import json
import shutil
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from jattn import catalogue
from jattn.models.decoder import DecoderConfig
from jattn.part import Variables, part
from jattn.parts.masks.window import Window
from jattn.training import checkpoint, evaluate, lock, loop, metrics
from jattn.training.objectives.next_token import NextToken
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.text import Text
from jattn.training.step import Metrics
from jattn.training.windows import batches
from tests.training import kills


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "text"
    text.write_bytes(bytes(range(256)) * 8)
    return Run(
        model=DecoderConfig(width=8, depth=1),
        source=Text((str(text),)),
        optimizer=AdamW(),
        steps=5,
        batch=2,
        context=6,
        evaluate_every=2,
        checkpoint_every=3,
    )


@pytest.fixture(scope="module")
def done(run, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "new"
    return loop.fit(run, directory)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Pictures of later runs stay empty files: drawing takes half a second, and that of `done` is drawn."""
    monkeypatch.setattr(Figure, "savefig", lambda self, path, dpi: path.touch())


def test_a_run_leaves_its_files(run, done):
    directory = done.directory
    left = {path.name for path in directory.iterdir()}
    assert left == {"run.json", "metrics.jsonl", "checkpoints", "lock", "loss.png", "entropy.png", "heads.png"}
    assert checkpoint.read_run(directory, catalogue.find) == run
    rows = metrics.read(directory)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in rows if "heldout_loss" in row] == [2, 4, 5]
    assert np.shape(rows[0]["entropy"]) == (1, 2)
    assert f"jattn sample --dir {directory}" in str(done)


def test_the_last_checkpoint_gives_the_loss_that_was_told(run, done):
    last = checkpoint.load(done.directory, run).state
    assert last.step == 5
    assert evaluate.held_out_loss(run, Variables(last.params, last.buffers)) == pytest.approx(done.held_out_loss)
    assert checkpoint.load(done.directory, run, 3).state.step == 3
    with pytest.raises(FileNotFoundError, match=r"of \[3, 5\], got 4"):
        checkpoint.load(done.directory, run, 4)


def test_the_same_run_repeats_bit_for_bit(run, done, tmp_path, capsys):
    again = loop.fit(run, tmp_path)
    assert capsys.readouterr().out.splitlines()[0] == repr(run)
    assert again.held_out_loss == done.held_out_loss
    one, two = (checkpoint.load(summary.directory, run).state for summary in (done, again))
    chex.assert_trees_all_equal(one, two)
    shown = [[{**row, "tokens_per_second": 0} for row in metrics.read(s.directory)] for s in (done, again)]
    assert shown[0] == shown[1]


def test_a_directory_that_holds_a_run_is_left_alone(run, done):
    before = (done.directory / "run.json").stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="must hold no other run"):
        loop.fit(run, done.directory)
    assert (done.directory / "run.json").stat().st_mtime_ns == before


def test_what_is_refused_leaves_no_trace(run, tmp_path):
    with pytest.raises(FileNotFoundError):
        loop.fit(Run(**{**vars(run), "source": Text((str(tmp_path / "none"),))}), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def losses(directory):
    return [{**row, "tokens_per_second": 0} for row in metrics.read(directory)]


def cut_off(done, directory, step):
    """A run's directory as a process killed after `step` steps leaves it: rows beyond, the last of them in part."""
    shutil.copytree(done.directory, directory)
    for number in (3, 5):
        if number > step:
            shutil.rmtree(directory / "checkpoints" / str(number))
    for picture in directory.glob("*.png"):
        picture.unlink()
    lines = (directory / "metrics.jsonl").read_text().splitlines(keepends=True)
    (directory / "metrics.jsonl").write_text("".join(lines[: step + 1]) + lines[-1][:40])


@pytest.mark.parametrize("step, workers", [pytest.param(0, 0, marks=pytest.mark.slow), (4, 2)])
def test_a_run_that_was_cut_off_goes_on_to_the_same_numbers(run, done, tmp_path, step, workers):
    cut_off(done, tmp_path / "run", step)
    summary = loop.resume(run, tmp_path / "run", workers=workers)
    assert losses(tmp_path / "run") == losses(done.directory)
    chex.assert_trees_all_equal(*(checkpoint.load(d, run).state for d in (tmp_path / "run", done.directory)))
    assert summary.held_out_loss == done.held_out_loss and summary.first == (3 if step else 0)
    assert (tmp_path / "run" / "loss.png").exists()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_numbers(tmp_path):
    # kills.py by itself takes 20, five of them during a save
    assert all(kill.same for kill in kills.main(3, 1, tmp_path))


def test_a_run_that_was_over_is_summed_up_again(run, done, tmp_path):
    shutil.copytree(done.directory, tmp_path / "run")
    summary = loop.resume(run, tmp_path / "run")
    assert (summary.held_out_loss, summary.train_loss) == (float(f"{done.held_out_loss:.7g}"), done.train_loss)
    assert losses(tmp_path / "run") == losses(done.directory)


@pytest.mark.slow
def test_workers_and_event_files_change_nothing(run, done, tmp_path):
    loop.fit(run, tmp_path / "run", workers=3, events=tmp_path / "events")
    (events,) = (tmp_path / "events").iterdir()
    assert events.stat().st_size > 5 * 100
    assert losses(tmp_path / "run") == losses(done.directory)
    chex.assert_trees_all_equal(*(checkpoint.load(d, run).state for d in (tmp_path / "run", done.directory)))


@pytest.mark.parametrize(
    "spoil, step",
    [
        (lambda lines: lines[:2] + lines[3:], 0),
        (lambda lines: [*lines[:4], lines[4][:30]], 3),
        (lambda lines: [], 0),
    ],
)
def test_rows_that_are_spoilt_are_made_again_from_an_older_checkpoint(run, done, tmp_path, spoil, step):
    shutil.copytree(done.directory, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(spoil(lines)))
    assert loop.resume(run, tmp_path / "run").first == step
    assert losses(tmp_path / "run") == losses(done.directory)


def test_checkpoints_that_are_a_file_are_refused_before_a_row_is_cut(run, done, tmp_path):
    shutil.copytree(done.directory, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "checkpoints").touch()
    with pytest.raises(NotADirectoryError, match="checkpoints must be a directory, got the file .*; move it away"):
        loop.resume(run, tmp_path / "run")
    assert losses(tmp_path / "run") == losses(done.directory)


def test_a_directory_in_use_is_refused(run, done, tmp_path):
    shutil.copytree(done.directory, tmp_path / "run")
    with lock.held(tmp_path / "run"), pytest.raises(BlockingIOError, match="one process at a time"):
        loop.resume(run, tmp_path / "run")


def test_ctrl_c_saves_says_how_to_go_on_and_loses_nothing(run, done, tmp_path, monkeypatch):
    examples, read = run.source.train(run.context, run.seed), []

    class Watched:
        def __len__(self):
            return len(examples)

        def __getitem__(self, number):
            read.append(number)
            # the third batch of two
            if len(read) == 5:
                signal.raise_signal(signal.SIGINT)
            return examples[number]

    monkeypatch.setattr(Text, "train", lambda *_: Watched())
    with pytest.raises(KeyboardInterrupt, match=f"after step 3 of 5, which is saved; go on with .*{tmp_path}"):
        loop.fit(run, tmp_path / "run")
    assert checkpoint.load(tmp_path / "run", run).state.step == 3
    loop.resume(run, tmp_path / "run")
    assert losses(tmp_path / "run") == losses(done.directory)


@pytest.mark.slow
@pytest.mark.parametrize("evaluation, step", [(2, 4), (3, 5)])
def test_a_stop_during_an_evaluation_saves_and_evaluates_later(run, done, tmp_path, monkeypatch, evaluation, step):
    means_on, begun = evaluate.means_on, []

    def struck(*arguments):
        begun.append(len(begun))
        # the second strikes the evaluation that is made good
        if len(begun) in (evaluation, evaluation + 1):
            signal.raise_signal(signal.SIGTERM)
        return means_on(*arguments)

    monkeypatch.setattr(evaluate, "means_on", struck)
    for start in (loop.fit, loop.resume):
        with pytest.raises(KeyboardInterrupt, match=f"after step {step} of 5, which is saved; go on with"):
            start(run, tmp_path / "run")
        assert checkpoint.load(tmp_path / "run", run).state.step == step
        assert len(metrics.read(tmp_path / "run")) == step
        assert "heldout_loss" not in metrics.read(tmp_path / "run")[-1]
    summary = loop.resume(run, tmp_path / "run", events=tmp_path / "events")
    assert losses(tmp_path / "run") == losses(done.directory)
    assert summary.held_out_loss == done.held_out_loss


def test_a_run_that_was_edited_is_not_gone_on_with(run, done, tmp_path):
    cut_off(done, tmp_path / "run", 3)
    for edited in (dataclasses.replace(run, seed=1), dataclasses.replace(run, model=DecoderConfig(width=12, depth=1))):
        with pytest.raises(ValueError, match="must hold the run as it began, got another in .* of step 3 holds; put"):
            loop.resume(edited, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "3").is_dir()


def test_a_held_out_loss_that_is_no_number_stops_the_run_unsaved(run, tmp_path):
    # the only step's own loss is finite
    broken = dataclasses.replace(run, optimizer=AdamW(rate=1e38), steps=1)
    with pytest.raises(FloatingPointError, match="The held-out loss must stay finite, got nan at step 1"):
        loop.fit(broken, tmp_path)
    assert not checkpoint.saved(tmp_path)


def test_params_that_are_no_numbers_are_not_saved(run, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.state, "finite", lambda params: False)
    with pytest.raises(FloatingPointError, match="What is learned must stay finite, got others after step 2"):
        loop.fit(run, tmp_path)
    assert not checkpoint.saved(tmp_path)


def test_a_run_begins_with_another_runs_weights(run, done, tmp_path):
    later = dataclasses.replace(run, init_from=str(done.directory), seed=7)
    began = loop.Training(later, tmp_path).began()
    reached = checkpoint.load(done.directory, run).state
    chex.assert_trees_all_equal(began.state.params, reached.params)
    assert began.state.step == 0 and began.example == 0


@part
class Breaks(NextToken):
    """Gives a NaN once the loss has moved."""

    def __call__(self, forward, variables, batch, rng):
        loss, terms = super().__call__(forward, variables, batch, rng)
        # the head starts at 0, so that the first step alone is finite
        moved = jnp.any(variables.params["head"]["table"] != 0)
        return jnp.where(moved, jnp.nan, loss), terms


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 9])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_what_was_good(run, tmp_path, every):
    broken = Run(**{**vars(run), "objective": Breaks(), "checkpoint_every": every})
    with pytest.raises(FloatingPointError, match="got nan at step 2"):
        loop.fit(broken, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1]
    if every == 1:
        assert checkpoint.load(tmp_path, broken).state.step == 1


def entropies_by_hand(params, tokens):
    """Mean entropy of each layer and head of a default decoder, written out in NumPy."""

    def normed(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale

    def turned(x):
        half = x.shape[-1] // 2
        angle = np.arange(x.shape[1])[:, None] * 10000.0 ** (-np.arange(half) / half)
        number = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angle)[:, None, :]
        return np.concatenate([number.real, number.imag], -1)

    stacked = params["stack"]["repeat"][0]
    x, found = params["embedding"]["table"][tokens], []
    for n in range(len(stacked["feedforward"]["up"])):
        layer = jax.tree.map(lambda leaf, n=n: leaf[n], stacked)
        into, weights = normed(x, layer["before_mixer"]["inner"]["scale"]), layer["mixer"]["projecting"]
        q, k, v = ((into @ weights[name]).reshape(*into.shape[:2], 2, -1) for name in ("query", "key", "value"))
        logits = np.einsum("bthd,bshd->bhts", turned(q), turned(k)) / np.sqrt(q.shape[-1])
        logits = np.where(np.tri(logits.shape[-1], dtype=bool), logits, -np.inf)
        attention = np.exp(logits - logits.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        found.append(-(attention * np.log(np.where(attention > 0, attention, 1))).sum(-1).mean((0, 2)))
        x = x + np.einsum("bhts,bshd->bthd", attention, v).reshape(x.shape) @ weights["output"]
        hidden = normed(x, layer["before_feedforward"]["inner"]["scale"]) @ layer["feedforward"]["up"]
        x = x + np.maximum(hidden, 0) ** 2 @ layer["feedforward"]["down"]
    return found


@pytest.mark.slow
def test_logged_entropies_are_those_of_the_saved_weights(tmp_path):
    run = Run(
        model=DecoderConfig(width=16, depth=3),
        optimizer=AdamW(rate=0.03),
        steps=7,
        batch=3,
        context=24,
        evaluate_every=100,
        checkpoint_every=6,
    )
    text = tmp_path / "text"
    text.write_bytes(b"to be, or not to be, that is the question:\n" * 40)
    run = dataclasses.replace(run, source=Text((str(text),)))
    loop.fit(run, tmp_path / "run")
    # the state after six steps makes the forward pass of the seventh
    saved = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), checkpoint.load(tmp_path / "run", run, 6).state.params
    )
    batch = batches(run.source.train(run.context, run.seed), run.batch, run.seed)[6]
    logged = metrics.read(tmp_path / "run")[6]
    want = entropies_by_hand(saved, batch["tokens"][:, :-1])
    assert np.shape(want) == (3, 2) and np.std(want) > 1e-3
    # float32 training against float64
    np.testing.assert_allclose(logged["entropy"], want, rtol=1e-4)


@pytest.mark.parametrize("where", ["file/run", "file"])
def test_a_directory_that_cannot_be_made_is_one_sentence(run, tmp_path, where):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="A run's directory must be .*; name another"):
        loop.fit(run, tmp_path / where)


def test_a_mask_that_does_not_fit_the_heads_leaves_nothing(run, tmp_path):
    attention = dataclasses.replace(run.model.attention, mask=Window(left=(1, 2, 3)))
    wrong = dataclasses.replace(run, model=dataclasses.replace(run.model, attention=attention))
    with pytest.raises(ValueError, match="one size for each of the 2 query heads, got 3"):
        loop.fit(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_more_windows_a_step_than_the_text_has_leave_nothing(run, tmp_path):
    windows = len(run.source.train(run.context, run.seed))
    with pytest.raises(ValueError, match=f"at most the {windows} training examples, got 10{'0' * 11}"):
        loop.fit(dataclasses.replace(run, batch=10**12), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_step_waited_for_right_after_another_shares_its_time(run, tmp_path, monkeypatch):
    training = loop.Training(run, tmp_path)
    moments = iter([11.0, 13.0, 13.5])
    training.clock = (10.0, 10.0)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(moments))
    shown = Metrics(jnp.float32(1), jnp.float32(1), jnp.float32(1), None)
    rates = [training._read(n, shown, steps) for n, steps in ((1, 2), (2, 1), (3, 2))]
    assert rates == [12 / 1, 12 / 2, 24 / 2.5]


def test_a_context_longer_than_the_text_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="more bytes than one context, got .* 999999999"):
        loop.fit(Run(context=999999999), tmp_path / "run")
    assert not (tmp_path / "run").exists()
