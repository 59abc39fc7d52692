"""How a model is called: the names that its forward takes, which differ between models and versions of transformers."""

import inspect
from collections.abc import Callable
from functools import lru_cache

# What models call what they keep of the tokens before: keys and values, or in the last two a state that stands for them.
# transformers 5.24 calls all of its own "cache".
KEYS_AND_VALUES = ("past_key_values", "cache")
CACHES = (*KEYS_AND_VALUES, "cache_params", "state")


def cache_name(model) -> str | None:
    """What a model calls its cache; None where it has none that is known here."""
    known = forward_parameters(model)
    return next((name for name in CACHES if name in known), None)


def needs_mask(model) -> bool:
    """Whether a step has to say which tokens before are there: not where one state stands for all of them, which has no
    columns that could be masked. A model that has attention layers beside such states takes positions, too."""
    only_a_state = getattr(model, "_is_stateful", False) and "position_ids" not in forward_parameters(model)
    return cache_name(model) in KEYS_AND_VALUES and not only_a_state


def forward_parameters(model) -> frozenset[str]:
    """The names that a model's forward takes: its own, where something has put one in the place of its class's."""
    own = vars(model).get("forward")  # not remembered: it would keep the model in memory
    return _of_class(type(model).forward) if own is None else _names(own)


def _names(forward: Callable) -> frozenset[str]:
    return frozenset(inspect.signature(forward).parameters)


_of_class = lru_cache(maxsize=16)(_names)  # a step asks each time
