"""A pretended CUDA device for tests on a CPU: tensors that say they are on cuda:0, torch's rules for mixing devices, streams and graphs.

`with pretended_cuda() as gpu:` makes `device="cuda:0"` work. An operation that mixes devices raises torch's error. `gpu.waits` counts the
operations for which the CPU waits for the device, or the device for the CPU. A captured graph follows CUDA's rules: capturing changes no
values, nothing may wait, and a replay repeats the same operations with the same numbers on the same memory.
"""

import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from trainer.pack.cuda_graph import _stream_of
from trainer.pack.device import _lock_file

aten = torch.ops.aten
DEVICE = torch.device("cuda:0")

_WAITING = frozenset(
    [
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "is_nonzero",
        "equal",
        "argwhere",
        "bincount",
        "histc",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
    ]
)
"""Operations whose result the CPU reads."""
_INDEXING = frozenset(["index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"])
_WITHOUT_CPU_NUMBERS = frozenset(
    [
        "index_add",
        "index_add_",
        "gather",
        "scatter",
        "scatter_",
        "scatter_reduce_",
        "index_select",
        "cat",
        "stack",
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "convolution",
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_fused_adam_",
        "_fused_sgd_",
    ]
)
"""Operations on the device that do not accept a CPU tensor of dimension 0, as the others do."""


class DeviceTensor(Tensor):
    """A tensor of the pretended device. Torch sees a tensor on `meta`; `values` holds the numbers."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "DeviceTensor":
        made: DeviceTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device="meta",
        )
        made.values = values
        return made

    device = property(lambda self: DEVICE)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def __repr__(self, *_: Any, **__: Any) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")

    __array__ = numpy

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["values"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], *_: Any) -> "DeviceTensor":
        return DeviceTensor(inner["values"])

    @classmethod
    def __torch_function__(cls, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Replace what torch computes in C++ from the device `meta`."""
        if any(kind.__name__ == "PackedTensor" for kind in types):
            return NotImplemented
        if function == Tensor.data.__set__ and isinstance(args[1], DeviceTensor):  # type: ignore[attr-defined]
            args[0].values = args[1].values
        own = _IN_PYTHON.get(function) if args and isinstance(args[0], DeviceTensor) else None
        if own is not None:
            return own(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _the_device().run(function, args, kwargs or {})


def _number(tensor: Tensor) -> Any:
    return aten._local_scalar_dense.default(tensor.reshape(()))


def _sliced(tensor: Tensor, key: Any) -> tuple[Tensor, list[Tensor | None]]:
    """Return the view that the basic part of an index selects, and the index tensors that remain for each of its dimensions."""
    parts = key if isinstance(key, tuple) else (key,)
    for place, part in enumerate(parts):
        if part is Ellipsis:
            rest = tensor.dim() - sum(part is not None and part is not Ellipsis for part in parts)
            parts = (*parts[:place], *(slice(None),) * rest, *parts[place + 1 :])
            break
    dim, remaining = 0, list[Tensor | None]()
    for part in parts:
        if isinstance(part, int):
            tensor = tensor.select(dim, part)
            continue
        if part is None:
            tensor = tensor.unsqueeze(dim)
        elif isinstance(part, slice):
            stop = part.stop if part.stop is not None else 2**62
            tensor = tensor if part == slice(None) else aten.slice.Tensor(tensor, dim, part.start, stop, part.step or 1)
        else:
            index = torch.tensor(part) if isinstance(part, list | tuple) else part
            remaining.append(index)
            dim += index.dim() if index.dtype == torch.bool else 1
            continue
        remaining.append(None)
        dim += 1
    return tensor, remaining


def _get(tensor: Tensor, key: Any) -> Tensor:
    view, remaining = _sliced(tensor, key)
    return aten.index.Tensor(view, remaining) if any(index is not None for index in remaining) else view


def _set(tensor: Tensor, key: Any, value: Any) -> None:
    view, remaining = _sliced(tensor, key)
    is_indexed = any(index is not None for index in remaining)
    if not isinstance(value, Tensor):
        if not is_indexed:
            view.fill_(value)
            return
        value = torch.tensor(value, dtype=tensor.dtype)  # torch makes it on the CPU too
    if is_indexed:
        aten.index_put_.default(view, remaining, value)
    else:
        view.copy_(value)


def _contiguous(tensor: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    is_already = tensor.is_contiguous(memory_format=memory_format)
    return tensor if is_already else aten.clone.default(tensor, memory_format=memory_format)


_IN_PYTHON: dict[Any, Callable[..., Any]] = {
    Tensor.__getitem__: _get,
    Tensor.__setitem__: _set,
    Tensor.copy_: lambda tensor, source, non_blocking=False: aten.copy_.default(tensor, source, non_blocking),
    Tensor.contiguous: _contiguous,
    Tensor.__invert__: aten.bitwise_not.default,
    Tensor.tolist: lambda tensor: tensor.cpu().tolist(),
    Tensor.item: _number,
    Tensor.__bool__: lambda tensor: bool(_number(tensor)),
    Tensor.__float__: lambda tensor: float(_number(tensor)),
    Tensor.__int__: lambda tensor: int(_number(tensor)),
    Tensor.__index__: lambda tensor: int(_number(tensor)),
}


class PretendedDevice(TorchDispatchMode):
    """Runs the operations of the pretended device.

    Attributes:
        waits: (kind, operation, line of the trainer) -> number of times that one side waited; kinds: `read`, `to CPU`, `to device`.
        capture: the graph that is being captured, if any.
        n_captures: number of graphs captured so far.
        n_replays: number of replays so far.
    """

    active: ClassVar["PretendedDevice | None"] = None

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[tuple[str, str, str]] = Counter()
        self.capture: Graph | None = None
        self.stream = self.default_stream = Stream()
        self.pools_in_use: list[object] = []
        """The pools of captures that have not ended; CUDA's allocator refuses to empty its cache as long as there are any."""
        self.released_pools: list[object] = []
        self.n_captures = self.n_replays = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(function, args, kwargs or {})

    def run(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run one operation by the rules of the device on which it belongs."""
        name = function.overloadpacket.__name__
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
        others = [tensor for tensor in tensors if not isinstance(tensor, DeviceTensor)]
        target = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
        is_traced = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None
        if not ours and (target in (None, "cpu") or (target == "meta" and is_traced)):
            return function(*args, **kwargs)
        stays = bool(ours) if target is None else target in ("cuda", "meta")
        if name == "_to_copy" and ours and stays and set(kwargs) <= {"device", "non_blocking"}:
            return args[0]
        if name in ("_to_copy", "copy_"):
            source, stays = (args[0], stays) if name == "_to_copy" else (args[1], isinstance(args[0], DeviceTensor))
            if isinstance(source, DeviceTensor) != stays:
                self.wait("to device" if stays else "to CPU", name)
        elif ours:
            self._check(name, args, others)
            stays = stays and name != "_local_scalar_dense"
        return self._compute(function, args, kwargs, stays=stays, is_ours=bool(ours))

    def wait(self, kind: str, name: str) -> None:
        """Count a wait; raise CUDA's error if a graph is captured."""
        place = _place()
        self.waits[kind, name, place] += 1
        if self.capture is not None:
            self.capture.is_broken = True
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({name}, {kind}, {place})")

    def call_in_another_thread(self) -> None:
        """Do what a thread of a data loader may do at any time: call CUDA."""
        if self.capture is not None and self.capture.error_mode == "global":
            self.capture.is_broken = True

    def _check(self, name: str, args: Sequence[Any], others: Sequence[Tensor]) -> None:
        """Raise torch's error for operations that mix devices, and count those for which one side waits."""
        if name in _WAITING:
            self.wait("read", name)
        elif name in _INDEXING:
            indices = [index for index in args[1] if isinstance(index, Tensor)]
            if not isinstance(args[0], DeviceTensor):
                raise RuntimeError(f"indices should be either on cpu or on the same device as the indexed tensor (cpu), at {_place()}")
            if name != "index" and not isinstance(args[2], DeviceTensor) and args[2].dim():
                raise RuntimeError(f"Expected all tensors to be on the same device, but got value is on cpu, at {_place()}")
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.wait("read", f"{name} by a mask")
            if not all(isinstance(index, DeviceTensor) for index in indices):
                self.wait("to device", f"{name} by a CPU tensor")
        elif any(tensor.dim() or name in _WITHOUT_CPU_NUMBERS for tensor in others):
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in others)
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
                f"({name}, of shapes {shapes} on the CPU, at {_place()})"
            )

    def _compute(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], *, stays: bool, is_ours: bool) -> Any:
        plain_args, plain_kwargs = pytree.tree_map_only(DeviceTensor, lambda tensor: tensor.values, (args, dict(kwargs)))
        if "device" in plain_kwargs:
            plain_kwargs["device"] = torch.device("cpu")
        plain_kwargs.pop("pin_memory", None)
        run = function if self.capture is None else partial(self.capture.add, function)
        found = run(*plain_args, **plain_kwargs)
        if not stays:
            return found
        wrapped = pytree.tree_map_only(Tensor, DeviceTensor, found)
        is_new = not is_ours and function.overloadpacket.__name__ != "copy_"
        return wrapped if is_new else return_and_correct_aliasing(function, args, kwargs, wrapped)


class Stream:
    """A stream. The pretended device runs everything in order, so that no stream has to wait."""

    device = DEVICE
    device_index = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, other: "Stream") -> None:
        pass


class Graph:
    """A graph of captured operations, in place of `torch.cuda.CUDAGraph`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.is_broken = False
        self._operations: list[tuple[Any, Any, Any, Any]] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._pool: object = None
        self._has_ended = False

    def __del__(self) -> None:
        """CUDA does not allow a graph to be destroyed during a capture."""
        gpu = PretendedDevice.active
        if gpu is not None and gpu.capture is not None:
            gpu.capture.is_broken = True

    def pool(self) -> object:
        if not self._has_ended:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return self._pool

    def capture_begin(self, pool: object = None, capture_error_mode: str = "global", **_: Any) -> None:
        assert _the_device().stream is not _the_device().default_stream, "CUDA cannot capture its default stream"
        self._pool, self.error_mode = pool, capture_error_mode
        _the_device().capture = self
        _the_device().pools_in_use.append(pool)

    def capture_end(self) -> None:
        gpu = _the_device()
        gpu.capture = None
        for storage, values in self._before.values():
            storage.copy_(values)
        self._before.clear()
        if self.is_broken:
            self._operations.clear()
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self._has_ended = True
        gpu.pools_in_use.remove(self._pool)
        gpu.n_captures += 1

    def add(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute an operation to learn its results' shapes. The values that it overwrites are restored at the end of the capture."""
        pairs = zip(function._schema.arguments, args, strict=False)
        written = [value for argument, value in pairs if argument.alias_info is not None and argument.alias_info.is_write]
        if function.overloadpacket is aten.native_batch_norm:
            written += args[3:5]  # the running mean and variance, which its schema does not declare as written
        for tensor in pytree.tree_leaves(written):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        found = function(*args, **kwargs)
        self._operations.append((function, args, kwargs, found))
        return found

    @torch.no_grad()
    def replay(self) -> None:
        _the_device().n_replays += 1
        for function, args, kwargs, found in self._operations:
            again = function(*args, **kwargs)
            for old, new in zip(pytree.tree_leaves(found), pytree.tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _the_device() -> PretendedDevice:
    assert PretendedDevice.active is not None, "a tensor of the pretended device is used outside `with pretended_cuda()`"
    return PretendedDevice.active


def _place() -> str:
    """Return the innermost line of the trainer that is running."""
    lines = [frame for frame in traceback.extract_stack() if "/trainer/" in frame.filename and "/tests/" not in frame.filename]
    return f"{lines[-1].filename.rpartition('/trainer/')[2]}:{lines[-1].lineno}" if lines else "outside the trainer"


@contextmanager
def pretended_cuda() -> Iterator[PretendedDevice]:
    """Let this process have a CUDA device within the context."""
    gpu, uuid = PretendedDevice(), f"pretended-{os.getpid()}"

    def set_stream(stream: Stream) -> None:
        gpu.stream = stream

    def empty_cache() -> None:
        assert gpu.pools_in_use == [], "captures_underway.empty() INTERNAL ASSERT FAILED"

    replaced: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "synchronize": lambda *_: gpu.wait("read", "synchronize"),
        "empty_cache": empty_cache,
        "graph_pool_handle": object,
        "get_device_properties": lambda *_: SimpleNamespace(uuid=uuid, name="pretended"),
        "Stream": Stream,
        "CUDAGraph": Graph,
        "current_stream": lambda *_: gpu.stream,
        "set_stream": set_stream,
    }
    only_lifts_cpu = torch._C._only_lift_cpu_tensors()
    with pytest.MonkeyPatch.context() as patch, torch.autograd.set_multithreading_enabled(False):
        for name, value in replaced.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
        patch.setattr(torch._C, "_cuda_endAllocateToPool", lambda _, pool: gpu.pools_in_use.remove(pool), raising=False)
        patch.setattr(torch._C, "_cuda_releasePool", lambda _, pool: gpu.released_pools.append(pool), raising=False)
        patch.setattr(PretendedDevice, "active", gpu)
        _stream_of.cache_clear()
        torch._C._ensureCUDADeviceGuardSet()
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            with gpu:
                yield gpu
        finally:
            torch._C._set_only_lift_cpu_tensors(only_lifts_cpu)
            _stream_of.cache_clear()
            _lock_file(uuid).unlink(missing_ok=True)
