"""The device and the precision that a model is loaded on, and the device's name."""

from typing import TYPE_CHECKING

from boxes.models.quiet import first_line
from boxes.records import UserError

if TYPE_CHECKING:
    import torch


def chosen_device(device: "str | torch.device | None") -> "str | torch.device":
    """A device that is there; by default the GPU where there is one. "auto" is left as it is."""
    import torch

    if device is None or device == "":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "auto":
        return device
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        wrong = f"device {str(device)!r}: {first_line(error)}"
        raise UserError(f"{wrong}; choose cpu, cuda, cuda:0 or auto") from None


def chosen_dtype(dtype: "str | torch.dtype | None", device: "str | torch.device") -> "torch.dtype":
    """A floating-point type; by default bfloat16 on a GPU, else float32."""
    import torch

    if not dtype:
        on_gpu = torch.cuda.is_available() and device != torch.device("cpu")
        return torch.bfloat16 if on_gpu else torch.float32
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype, dtype)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise UserError(f"unknown dtype {str(dtype)!r}; choose float32, bfloat16 or float16")
    return dtype


def device_name(device: "torch.device", processor: str = "cpu") -> str:
    """What a GPU is called; for the CPU `processor`, and how many of its threads are used."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor}, {torch.get_num_threads()} threads"
