"""What a forward pass keeps, against the residuals of its jaxpr."""

import dataclasses

import jax
import pytest

from jattn.models.decoder import DecoderConfig
from jattn.part import Variables
from jattn.planning import saved
from jattn.training import state
from jattn.training.run import Run
from jattn.training.sharding import Mesh

RUN = Run(model=DecoderConfig(width=16, depth=3, heads=2), batch=4, context=24, mesh=Mesh(data=1))


def residuals(run):
    """Bytes of what the gradient reads beside the arguments."""
    forward, found = state.forward(run), state.outline(run)

    def kept(params, batch):
        return jax.vjp(lambda p: run.objective(forward, Variables(p, {}), batch, None), params, has_aux=True)[1]

    jaxpr = jax.make_jaxpr(kept)(found.params, saved.batch(run, run.batch)).jaxpr
    given = {id(x) for x in jaxpr.invars}
    return sum(x.aval.size * x.aval.dtype.itemsize for x in jaxpr.outvars if id(x) not in given)


def test_it_is_what_the_gradient_reads():
    assert saved.saved(RUN) == residuals(RUN)


@pytest.mark.slow
def test_of_a_block_that_is_computed_again_its_input_is_kept():
    whole, again = (saved.saved(dataclasses.replace(RUN, remat=remat)) for remat in ("none", "block"))
    stream = RUN.batch * RUN.context * RUN.model.width * 4
    assert 3 * stream <= again < whole - 3 * 4 * stream


def test_of_a_batch_in_pieces_one_is_kept():
    assert saved.saved(dataclasses.replace(RUN, batch=8, accumulate=2)) == saved.saved(RUN)
