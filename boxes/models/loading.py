"""Loading: a model and its tokenizer, read from a checkpoint and checked against each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxes.models.checkpoint import Checkpoint, find
from boxes.models.device import chosen_device, chosen_dtype
from boxes.models.files import check_files
from boxes.models.reading import check_finite, check_vocabulary, read_model, read_tokenizer
from boxes.models.table import ModelSpec
from boxes.models.tokenizer import check_tokens

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Loaded:
    """A model ready to decode, its tokenizer, and the checkpoint that both are from."""

    model: Any
    tokenizer: Any
    checkpoint: Checkpoint

    @property
    def spec(self) -> ModelSpec:
        """The row of the table."""
        return self.checkpoint.spec


def load(
    name_or_path: str | Path | Checkpoint,
    device: "str | torch.device | None" = None,
    dtype: "str | torch.dtype | None" = None,
) -> Loaded:
    """Load a row of the model table, a local folder, or what `find` found of either. Defaults: the
    GPU in bfloat16 where there is one, else float32.

    The device "auto" spreads a model over all GPUs that can be seen (CUDA_VISIBLE_DEVICES).
    """
    checkpoint = find(name_or_path)
    folder = checkpoint.folder
    device = chosen_device(device)
    dtype = chosen_dtype(dtype, device)
    check_files(folder)
    checkpoint.check_recorded()
    tokenizer = load_tokenizer(checkpoint)
    model = read_model(folder, dtype, device).eval()
    check_vocabulary(model, tokenizer, folder)
    check_finite(model, folder)
    return Loaded(model, tokenizer, checkpoint)


def load_tokenizer(checkpoint: Checkpoint):
    """A checkpoint's tokenizer. UserError where it would not send what its files say."""
    folder = checkpoint.tokenizer_folder
    tokenizer = read_tokenizer(folder)
    check_tokens(tokenizer, folder, checkpoint.spec.system_role)
    return tokenizer
