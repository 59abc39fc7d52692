"""A GPU that is not there: the engine's own code on fake tensors of device "cuda", on a CPU build of torch.

FakeTensorMode computes nothing and checks shapes, dtypes and devices as a GPU would; what would wait for the device
raises. `Ledger` sees every operation: how many kernels it launches, its floating-point operations and bytes, which
memory it takes, and every copy between the device and the host.
"""

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from boxes import decoding

aten = torch.ops.aten
Tensor = torch.Tensor
GPU = torch.device("cuda", 0)
CASTS = {Tensor.float: torch.float32, Tensor.long: torch.int64, Tensor.bool: torch.bool}
# logsumexp launches several (torch 2.13, aten/src/ATen/native): amax, abs, ==, masked_fill, -, exp, sum, log, +.
KERNELS = {"aten::logsumexp": 9}
# They make or describe memory and launch nothing.
NO_KERNEL = {"aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::lift_fresh"}
NO_KERNEL |= {"aten::detach_", "prim::device"}
# A GPU refuses them where two floating-point types meet; fake tensors pass over that.
ONE_DTYPE = {"linear", "mm", "bmm", "addmm", "baddbmm", "matmul", "lerp", "index_put_"}
ONE_DTYPE |= {"_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention"}
ONE_DTYPE |= {"_flash_attention_forward", "_efficient_attention_forward"}
# They read or write a part of what they are given.
PICKING = {"aten::index", "aten::gather", "aten::embedding", "aten::index_select"}
PUTTING = {"aten::index_put_", "aten::scatter_"}
STORED = "aten::_efficient_attention_forward"  # over rows' memory, of which it reads what they hold
ROUNDED = 512  # bytes: torch's allocator gives memory in multiples of this
ENGINE = str(Path(decoding.__file__).parent)


class CopyToHostError(AssertionError):
    """An operation that waits for the device where none may."""


# ------------------------------------------------------------------------- Python's own bindings that guard the device
def taken(tensor: Tensor, key) -> Tensor:
    """tensor[key] in operations of ATen."""
    keys = _whole(tensor, key)
    out, dim, indices = tensor, 0, {}
    for one in keys:
        if one is None:
            out = aten.unsqueeze(out, dim)
        elif isinstance(one, int):
            out, dim = aten.select(out, dim, one), dim - 1
        elif isinstance(one, slice):
            if one != slice(None):
                out = aten.slice(out, dim, one.start, one.stop, one.step or 1)
        else:
            indices[dim] = _on(one, tensor.device)
        dim += 1
    if not indices:
        return out
    return aten.index(out, [indices.get(number) for number in range(max(indices) + 1)])


def _whole(tensor: Tensor, key) -> tuple:
    """An index as a tuple without an ellipsis."""
    keys = key if isinstance(key, tuple) else (key,)
    if not any(one is Ellipsis for one in keys):
        return keys
    at = next(number for number, one in enumerate(keys) if one is Ellipsis)
    named = sum(one is not None and one is not Ellipsis for one in keys)
    return (*keys[:at], *[slice(None)] * (tensor.dim() - named), *keys[at + 1 :])


def _on(index, device: torch.device) -> Tensor:
    """An index as a tensor: a list is copied to the device."""
    return index if isinstance(index, Tensor) else torch.tensor(index, device=device)


def put(tensor: Tensor, key, value) -> None:
    """tensor[key] = value in operations of ATen."""
    keys = _whole(tensor, key)
    indexed = (Tensor, list)
    view = taken(tensor, tuple(slice(None) if isinstance(one, indexed) else one for one in keys))
    left = [one for one in keys if not isinstance(one, int)]
    if not isinstance(value, Tensor):
        value = torch.full((), value, dtype=tensor.dtype, device=tensor.device)
    if not any(isinstance(one, indexed) for one in left):
        aten.copy_(view, value)
        return
    indices = [_on(one, tensor.device) if isinstance(one, indexed) else None for one in left]
    aten.index_put_(view, indices, value)


class Bindings(TorchFunctionMode):
    """Maps what a CPU build cannot do for a GPU to the operators behind it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is Tensor.__getitem__:
            return taken(*args)
        if func is Tensor.__setitem__:
            return put(*args)
        if func is Tensor.__invert__:
            return aten.bitwise_not(args[0])
        if func is Tensor.contiguous:
            if args[0].is_contiguous():
                return args[0]
            return aten.clone.default(args[0], memory_format=torch.contiguous_format)
        if func in CASTS:
            return args[0].to(CASTS[func])
        if func in (Tensor.masked_fill, Tensor.masked_fill_):
            operator = aten.masked_fill if func is Tensor.masked_fill else aten.masked_fill_
            value = args[2] if len(args) > 2 else kwargs["value"]
            return operator.Scalar(args[0], args[1], value)
        return func(*args, **kwargs)


def asked_by() -> str:
    """The function of the engine that is being run; "" where none is."""
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(ENGINE):
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_name


# ------------------------------------------------------------------------------------------------------- what was done
@dataclass
class Cost:
    """What some operations cost. `kernels`: launches by name, views apart; `reads`: waits for the device by the
    function that asked; `uploads`: copies to it, each of which waits, too."""

    kernels: Counter = field(default_factory=Counter)
    flops: int = 0
    moved: int = 0  # bytes read and written
    reads: Counter = field(default_factory=Counter)
    uploads: int = 0

    @property
    def launches(self) -> int:
        """Kernels in all."""
        return sum(self.kernels.values())


class Ledger(TorchDispatchMode):
    """Sees every operation on the device; `cost` is of those since it was last set anew."""

    def __init__(self):
        super().__init__()
        self.cost = Cost()
        self.held: dict[torch.device, int] = Counter()  # bytes of tensors there are
        self.peak: dict[torch.device, int] = Counter()
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for tensor in given:
            if isinstance(tensor, FakeTensor) and str(kwargs.get("device")).startswith("cuda"):
                tensor.constant = None  # what a list said: torch would copy it for real
        check_dtypes(func, given)
        out = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self._copies(func, given, made)
        for tensor in made:
            self._hold(tensor)
        name = func._schema.name
        on_device = any(tensor.device.type == "cuda" for tensor in (*given, *made))
        if on_device and not func.is_view and name not in NO_KERNEL:
            self._count(func, name, given, made, args, kwargs, out)
        return out

    def _count(self, func, name: str, given: list, made: list, args, kwargs, out) -> None:
        self.cost.kernels[name.removeprefix("aten::")] += KERNELS.get(name, 1)
        if name in PICKING:
            self.cost.moved += 2 * sum(map(_bytes, made))
        elif name in PUTTING:
            self.cost.moved += 2 * _bytes(given[-1])
        elif name == STORED:
            self.cost.moved += sum(map(_bytes, (given[0], *made))) + read_of_memory(*args)
        else:
            self.cost.moved += sum(map(_bytes, (*given, *made)))
        if name == "aten::linear":
            self.cost.flops += 2 * given[0].numel() * given[1].shape[0]
        elif func._overloadpacket in flop_registry:
            self.cost.flops += flop_registry[func._overloadpacket](*args, **kwargs, out_val=out)

    def _copies(self, func, given: list, made: list) -> None:
        """Between host and device."""
        where = {tensor.device.type for tensor in given if tensor.dim()}
        to = {tensor.device.type for tensor in made if tensor.dim()}
        if where == {"cpu"} and "cuda" in to:
            self.cost.uploads += 1
        if "cuda" in where and to == {"cpu"}:
            raise CopyToHostError(f"{func} copies from the device in {asked_by() or 'code that is not the engine'}")

    def _hold(self, tensor: Tensor) -> None:
        """Count a tensor's memory for as long as it lives."""
        storage, device = tensor.untyped_storage(), tensor.device
        if device.type != "cuda" or storage._cdata in self.known:
            return
        size, key = -(-storage.nbytes() // ROUNDED) * ROUNDED, storage._cdata
        self.known.add(key)
        self.held[device] += size
        self.peak[device] = max(self.peak[device], self.held[device])
        weakref.finalize(storage, self._free, key, device, size)

    def _free(self, key: int, device: torch.device, size: int) -> None:
        self.known.discard(key)
        self.held[device] -= size


def check_dtypes(func, given: list[Tensor]) -> None:
    """RuntimeError where an operation is given floating-point tensors of two types and takes but one."""
    dtypes = {tensor.dtype for tensor in given if tensor.is_floating_point()}
    if len(dtypes) > 1 and func._schema.name.removeprefix("aten::") in ONE_DTYPE:
        raise RuntimeError(f"{func} is given {' and '.join(sorted(map(str, dtypes)))}")


def read_of_memory(query, keys, values, bias, begins, begins_of_keys, most_new, most, *_) -> int:
    """Bytes of keys and values that attention over rows of unlike lengths reads at most."""
    token = keys.shape[-2] * (keys.shape[-1] + values.shape[-1])
    held = (len(begins) - 1) * most * token * keys.element_size()
    return min(held, _bytes(keys) + _bytes(values))


def _bytes(tensor: Tensor) -> int:
    """What reading or writing a tensor moves; an expanded one has no more than its memory."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


@contextmanager
def fake_gpu(read: Callable[[Tensor, str], list]) -> Iterator[Ledger]:
    """While it lasts, device "cuda" is there and computes nothing. `read` answers where the code reads numbers off
    the device: it is given the tensor and the name of the function that asks."""
    ledger = Ledger()

    def tolist(tensor: Tensor) -> list:
        who = asked_by()
        ledger.cost.reads[who] += 1
        return read(tensor, who)

    tolist_of_fakes = FakeTensor.tolist
    with ExitStack() as stack:
        for mode in (FakeTensorMode(allow_non_fake_inputs=True), Bindings(), ledger, torch.inference_mode()):
            stack.enter_context(mode)
        FakeTensor.tolist = tolist
        stack.callback(setattr, FakeTensor, "tolist", tolist_of_fakes)
        yield ledger


def on_the_host(function: Callable) -> Callable:
    """The same function, run for real: of numbers that are not on the device."""

    def run(*arguments, **more):
        with _disable_current_modes():
            return function(*arguments, **more)

    return run


# ------------------------------------------------------------------------------------------------------------- a model
def on_gpu(model: torch.nn.Module, place: Callable[[str], torch.device]) -> torch.nn.Module:
    """A model made on "meta" with its tensors on the devices that `place` names for its modules; a tied matrix is
    there once."""
    made: dict[int, Tensor] = {}
    for name, module in model.named_modules():
        for tensors in (module._parameters, module._buffers):
            for key, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=place(name))
                    made[id(tensor)] = torch.nn.Parameter(fake, False) if tensors is module._parameters else fake
                tensors[key] = made[id(tensor)]
    return model
