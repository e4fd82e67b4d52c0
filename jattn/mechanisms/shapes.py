"""Whether shapes fit as [..., time, heads, width], and how they are read where they would fit with heads before time.

Source: the layout is that of `jax.nn.dot_product_attention`.
"""

from collections.abc import Iterator


def check(query: tuple, key: tuple, value: tuple, others: dict[str, tuple]) -> bool:
    """Whether shapes that fit would fit with heads before time as well. Raises ValueError for those that do not fit.

    `others` are shapes by name that broadcast to batch, heads, queries and keys, or where the name ends in "lengths"
    to the batch.
    """
    vectors = query, key, value
    got = f"query {query}, key {key}, value {value}"
    if not len(query) == len(key) == len(value) or len(query) < 3:
        raise ValueError(
            f"Query, key and value share their rank, at least 3 as [..., time, heads, width], got {got}; "
            f"give each all of these axes."
        )
    swapped = [(*shape[:-3], shape[-2], shape[-3], shape[-1]) for shape in vectors]
    fault = next(_faults(vectors, others), None)
    fits_swapped = next(_faults(swapped, others), None) is None
    time, heads = query[-3:-1]
    if fault and fits_swapped:
        raise ValueError(
            f"Arrays are read as [..., time, heads, width], and {got}, {time} queries of {heads} heads and {key[-3]} "
            f"keys of {key[-2]}, do not fit so: {fault}; as [..., heads, time, width], {time} heads of {heads} queries "
            f"and {key[-3]} heads of {key[-2]} keys, they do: if so they are meant, swap the axes, as in "
            f"jnp.swapaxes(query, -3, -2)."
        )
    if fault:
        raise ValueError(f"Arrays are read as [..., time, heads, width], and {got} do not fit so: {fault}.")
    return fits_swapped


def _faults(vectors: tuple | list, others: dict) -> Iterator[str]:
    """Why shapes do not fit as [..., time, heads, width]."""
    query, key, value = vectors
    batch, (time, heads, width) = query[:-3], query[-3:]
    if not batch == key[:-3] == value[:-3]:
        yield "query, key and value share their leading batch axes; broadcast them first"
    if width != key[-1]:
        yield f"queries have width {width} and keys {key[-1]}; make them of one width"
    if key[-3] != value[-3]:
        yield f"there are {key[-3]} keys and {value[-3]} values; give each key its own"
    for name, count in (("key", key[-2]), ("value", value[-2])):
        if count < 1 or heads % count:
            yield f"{heads} query heads are no multiple of {count} {name} heads; make them one"
    for name, shape in others.items():
        axes, whole = "batch, heads, queries, keys", (*batch, heads, time, key[-3])
        if name.endswith("lengths"):
            axes, whole = "batch", batch
        if not _broadcasts(shape, whole):
            yield f"{name} of shape {shape} does not broadcast to [{axes}] = {whole}; make each axis whole or 1"


def _broadcasts(shape: tuple, whole: tuple) -> bool:
    spare = max(0, len(shape) - len(whole))
    return all(n == 1 for n in shape[:spare]) and all(
        n in (1, size) for n, size in zip(reversed(shape), reversed(whole), strict=False)
    )
