"""Where models are found that are neither folders nor in the cache of the hub."""

from __future__ import annotations

import importlib.util
import os


def resolve(name: str) -> str | None:
    """Returns the folder of a model that the engine did not find by its name, or ``None``.

    The data package of a built-in model, such as ``mobilebert_qa``, holds its folder.
    """
    plain = name.removeprefix("built-in:")
    if plain not in ("qa", "sentiment"):
        return None
    package = importlib.util.find_spec(f"mobilebert_{plain}")
    for place in (package and package.submodule_search_locations) or ():
        folder = os.path.join(place, "model")
        if os.path.isfile(os.path.join(folder, "config.json")):
            return folder
    return None
