"""Tests that a shortened run keeps what is tested and little else."""

import contextlib
import types

from jattn.models.decoder import DecoderConfig
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.shakespeare import Shakespeare
from jattn.training.sweeps import names, results, short


def test_a_shortened_run_keeps_the_model_and_the_optimizer():
    run = Run(optimizer=AdamW(rate=0.5), batch=64, accumulate=8, seed=3)
    less = short.shortened(run)
    assert (less.model, less.optimizer, less.seed) == (run.model, run.optimizer, 3)
    assert (less.steps, less.batch, less.context) == (4, 8, 16)
    assert less.evaluate_every <= less.steps and less.checkpoint_every < less.steps
    tiny = Run(steps=2, batch=1, context=5, evaluate_every=1, checkpoint_every=1)
    again = short.shortened(tiny)
    assert (again.steps, again.batch, again.context, again.checkpoint_every) == (2, 1, 5, 1)


def test_few_of_the_held_out_windows_are_scored():
    few = short.Few(Shakespeare())
    assert len(few.held_out(32)) == 8 and few.vocabulary == 256
    assert (few.held_out(32)[3]["tokens"] == Shakespeare().held_out(32)[3]["tokens"]).all()
    assert len(few.train(32, 0)) == len(Shakespeare().train(32, 0))


def test_runs_that_differ_in_numbers_alone_train_once(tmp_path, monkeypatch):
    trained = []

    def here(planned):
        if results.read(planned.result, planned.run) is None:
            trained.append(planned.index)
            planned.directory.mkdir(parents=True, exist_ok=True)
            planned.result.parent.mkdir(exist_ok=True)
            row = '{"step": 1, "loss": 2.0, "heldout_loss": 2.5, "tokens_per_second": 9}\n'
            (planned.directory / "metrics.jsonl").write_text(row)
            results.write(planned.result, results.record(planned.run, planned.directory))
        return types.SimpleNamespace(poll=lambda: 0)

    monkeypatch.setattr(short, "Here", here)
    runs = [
        Run(steps=steps, seed=seed, optimizer=AdamW(rate=r)) for r in (0.1, 0.2) for steps in (7, 8) for seed in (0, 1)
    ]
    runs.append(Run(optimizer=AdamW(), model=DecoderConfig(depth=1)))
    plans = [p._replace(run=short.shortened(p.run)) for p in names.planned(runs, tmp_path / "runs", tmp_path / "kept")]
    once = short.Once()
    for planned in plans:
        once(planned)
    assert trained == [0, 8]
    assert all(results.read(planned.result, planned.run)["reached"]["heldout_loss"] == 2.5 for planned in plans)
    assert results.read(plans[3].result, plans[3].run)["run"]["seed"] == 1


def test_compiling_is_as_before_afterwards():
    before = short.jax.config.values["jax_disable_most_optimizations"]
    with contextlib.suppress(ZeroDivisionError), short.compiled_fast():
        assert short.jax.config.values["jax_disable_most_optimizations"]
        raise ZeroDivisionError
    assert short.jax.config.values["jax_disable_most_optimizations"] == before
