"""From hidden states to logits: the output embedding, and the cap that some models put on it."""

from collections.abc import Callable

import torch


def head_of(model) -> Callable[[torch.Tensor], torch.Tensor]:
    """What makes logits (..., V) of hidden states. A soft cap changes no order of numbers, but it
    can round two to the same: without it the likeliest token could be another."""
    embedding = model.get_output_embeddings()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    if not cap:
        return embedding

    def capped(hidden: torch.Tensor) -> torch.Tensor:
        return embedding(hidden).div_(cap).tanh_().mul_(cap)

    return capped
