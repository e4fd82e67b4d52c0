"""Says in one sentence which extra of the package a missing library belongs to."""

# by the name under which a library is imported
LIBRARIES = {
    **dict.fromkeys(("flax", "optax", "orbax", "grain", "matplotlib", "jsonargparse", "tqdm", "filelock"), "train"),
    "tensorflow_datasets": "train",
    "tensorboardX": "tensorboard",
    **dict.fromkeys(("torch", "pyppmd", "tokamax"), "bench"),
    "libtpu": "tpu-compile",
    **dict.fromkeys(("jax_cuda12_plugin", "nvidia"), "gpu-compile"),
}


def sentence(what: str, error: ModuleNotFoundError) -> str | None:
    """What to install for `what` to work, or None where the missing library is in no extra."""
    library = (error.name or "").partition(".")[0]
    if library not in LIBRARIES:
        return None
    return f'{what} needs {library}, which is not installed; pip install "jattn[{LIBRARIES[library]}]" brings it.'
