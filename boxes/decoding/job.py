"""What is decoded, under which limits, and what was done: all that loop.py and fallback.py know."""

from dataclasses import dataclass, field

import torch

from boxes.decoding.automaton import Automaton
from boxes.decoding.drafting import Draft
from boxes.decoding.price import Price
from boxes.decoding.proposals import Acceptance
from boxes.decoding.ragged import takes_ragged

# Steps between looks at which rows are finished: each stops a device; 1 elsewhere.
LOOK = {"cuda": 4}
WIDE = 2048  # tokens: no prompt with its answer has so many, so that such a window hides nothing
Finished = list[tuple[int, list[int], bool]]  # index of the prompt, generated ids, whether it ended


@dataclass(frozen=True)
class Prompt:
    """What is known of a prompt before it runs."""

    index: int
    ids: list[int]
    state: int  # of the automaton, behind the prompt
    head: str  # the beginning of the statement that the prompt ends in
    draft: Draft

    @property
    def length(self) -> int:
        """Tokens of it and its draft."""
        return len(self.ids) + len(self.draft.tokens)


@dataclass
class Work:
    """What a decoder has done: for the bench, and for run.json."""

    way: str = ""  # trial.Way's name
    rows: int = 0  # prompts decoded at a time, as far as memory held them
    halvings: int = 0  # of that number, for want of memory
    forwards: int = 0
    tokens: int = 0  # generated
    # On the device: counting needs no stop.
    sums: dict[str, torch.Tensor] = field(default_factory=dict)

    def count(self, **found: torch.Tensor) -> None:
        """Add numbers: drafted tokens of each kind (K,) that were run (`proposed`) and that the
        model confirmed (`accepted`; their ratio: the acceptance rate), texts without a finite logit
        (`broken`)."""
        for name, number in found.items():
            self.sums[name] = self.sums.get(name, 0) + number

    def counted(self, name: str) -> int:
        """A number that was added up, over all kinds."""
        return int(torch.as_tensor(self.sums.get(name, 0)).sum())


@dataclass(frozen=True)
class Job:
    """What a way of decoding needs of a decoder: model, limits, and where work is counted."""

    model: torch.nn.Module
    automaton: Automaton  # on `device`
    device: torch.device  # of everything but the layers of a model that is spread
    kind: str  # of device that work is cut up for: its type
    max_new_tokens: int
    draft: bool
    acceptance: Acceptance  # what the model did with drafts so far
    price: Price  # of a drafted token on this device
    work: Work

    @property
    def look(self) -> int:
        """Steps between looks at which rows are finished."""
        return LOOK.get(self.kind, 1)

    @property
    def ragged(self) -> bool:
        """Whether rows with more new tokens than others cost the others nothing: no layer unpacks them."""
        config = self.model.config.get_text_config()
        window = getattr(config, "sliding_window", None) or WIDE
        capped = getattr(config, "attn_logit_softcapping", None)
        return takes_ragged(self.kind, self.model.dtype) and window >= WIDE and not capped
