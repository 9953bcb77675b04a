"""The frozen pydantic models of the grid file, and of a sweep whose studies are resolved. `sweep.config` is their door."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    InstanceOf,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import PydanticKnownError

from sweep.grid.json_schema import METHOD_NAMES, MODEL_NAMES
from sweep.grid.preferences import Preferences
from sweep.grid.study import Study
from trainer.catalog import METHODS, Entry, find_problem
from trainer.problems.facts import ProblemFacts
from trainer.settings import Range, TrainingSettings


class Costs(BaseModel):
    """Prices and emission factors for `sweep plan` and the report; changing them retrains nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, defer_build=True)

    usd_per_device_hour: Annotated[float, Range(ge=0, le=1e6)] | None = None
    """Price of the device that one worker trains on (a GPU, or its CPU cores), in US dollars per hour; default: unknown."""
    usd_per_kwh: Annotated[float, Range(ge=0, le=1e6)] | None = None
    """Price of electricity, in US dollars per kilowatt-hour; default: unknown."""
    g_co2_per_kwh: Annotated[float, Range(ge=0, le=1e6)] | None = None
    """Grams of CO2 emitted per kilowatt-hour where the devices are; default: unknown."""


_MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]i?)?B", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_MAX_BYTES = 2**50
AUTO = "auto"


def _is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, written as `3000` or as `3e3`."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def parse_memory(value: Any) -> Any:
    """Convert a size of memory to bytes: `1.5GB` -> 1500000000 (GB = 1e9, GiB = 2**30).

    Args:
        value: text with a unit, or a whole number of bytes.

    Returns:
        The number of bytes, at most 1024 TiB.

    Raises:
        ValueError: it is neither, or out of range.
    """
    if _is_whole(value):
        n_bytes = int(value)
    elif isinstance(value, str) and len(value) <= 40 and (match := _MEMORY.fullmatch(value.strip())):
        n_bytes = round(float(match[1]) * _UNITS[(match[2] or "").lower()])
    else:
        raise ValueError("a size such as 1.5GB, 512MiB or a whole number of bytes expected")
    if not 1 <= n_bytes <= _MAX_BYTES:
        raise ValueError("a size between 1B and 1024TiB expected")
    return n_bytes


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name):
        raise ValueError("a name of at most 100 letters, digits, `.`, `_`, `-` expected, not starting with a dot")
    return name


Name = Annotated[
    str,
    AfterValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$", "examples": ["multidigits-mdmtn"]}),
]


def _check_method(name: str) -> str:
    if name not in METHODS:
        raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, METHODS))})
    return name


Method = Annotated[str, AfterValidator(_check_method), WithJsonSchema(METHOD_NAMES)]
ModelName = Annotated[str, WithJsonSchema(MODEL_NAMES)]
Seeds = Annotated[tuple[Annotated[int, Range(ge=0, le=2**31 - 1)], ...], Field(min_length=1, examples=[[0, 1, 2]])]
Point = tuple[Annotated[float, Range()], ...]
Bytes = Annotated[
    int,
    BeforeValidator(parse_memory),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": r"^\d+(\.\d+)? ?([KMGTkmgt]i?)?[Bb]$"}, {"type": "integer", "minimum": 1}],
            "examples": ["1.5GB", "512MiB"],
        }
    ),
]
ReferencePoint = Annotated[
    Annotated[Literal["auto"], Tag("<auto>")] | Annotated[Point, Tag("<point>")],
    Discriminator(
        lambda value: "<auto>" if value == AUTO else "<point>" if isinstance(value, list | tuple) else None,
        custom_error_type="reference_point",
        custom_error_message="auto or a list of numbers expected",
    ),
]
PackSize = Annotated[
    Annotated[Literal["auto"], Tag("<auto>")] | Annotated[int, Range(ge=1, le=100_000), Tag("<size>")],
    Discriminator(
        lambda value: "<auto>" if value == AUTO else "<size>" if _is_whole(value) else None,
        custom_error_type="pack_size",
        custom_error_message="auto or a whole number >= 1 expected",
    ),
]

After = Annotated[
    Annotated[str, Tag("<name>")] | Annotated[tuple[str, ...], Field(min_length=1), Tag("<names>")],
    Discriminator(
        lambda value: "<name>" if isinstance(value, str) else "<names>" if isinstance(value, list | tuple) else None,
        custom_error_type="after",
        custom_error_message="the name of a study, or a list of names expected",
    ),
]

# Validators are built at their first use, since `sweep --help` needs none.
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, defer_build=True)


class ProblemConfig(BaseModel):
    """The problem: its name, or the path of a user's own factory, and its options, which depend on the problem."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, use_attribute_docstrings=True, defer_build=True)

    name: str
    """Name of the problem, or `my_package.my_module:factory` for a problem of your own."""
    import_from: tuple[str, ...] | None = None
    """Folders that your own problem's module is imported from; default: the grid file's folder, then the working directory."""

    @cached_property
    def entry(self) -> Entry:
        """The problem's entry in the catalog, or a user's own factory as it is at the first access.

        Raises:
            KeyError: the problem is not in the catalog; never for a config from `load_config`.
            ProblemError: a user's own problem cannot be imported.
        """
        return find_problem(self.name, self.import_from or ())

    @cached_property
    def options(self) -> Any:
        """The problem's options dataclass, with defaults filled in."""
        return TypeAdapter(self.entry.options).validate_python(self.__pydantic_extra__ or {})  # the lists of JSON become tuples

    @cached_property
    def facts(self) -> ProblemFacts:
        """Tasks and objectives for these options. A user's own problem whose factory has no `facts` is built to find them."""
        return self.entry.facts(self.options)


class OtherWorkers(BaseModel):
    """What one worker of another kind may use."""

    model_config = _STRICT

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device it trains on; `auto` is a GPU if the worker asks for one, otherwise the CPU."""
    cpus: Annotated[float, Range(gt=0, le=10_000)] = 1.0
    """CPU cores of one worker."""
    gpus: Annotated[float, Range(ge=0, le=1_000)] = 0.0
    """GPUs of one worker, or its share of one."""
    memory: Bytes = 1_500_000_000
    """Memory of one worker, as text with a unit (GB = 1e9 bytes, GiB = 2^30) or in bytes."""


class Resources(BaseModel):
    """What one worker may use."""

    model_config = _STRICT

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device that workers train on; `auto` is a GPU for a worker that asks for one (`gpus`), otherwise the CPU."""
    cpus: Annotated[float, Range(gt=0, le=10_000)] = 1.0
    """CPU cores of one worker. On a CPU it trains with one thread; beside a GPU it uses all of them for clustering."""
    gpus: Annotated[float, Range(ge=0, le=1_000)] = 0.0
    """GPUs of one worker; 0.5 lets two workers share a GPU: one trains while the other clusters or writes its rows. With 0, a worker
    uses no GPU unless `device` is `cuda`."""
    memory: Bytes = 1_500_000_000
    """Memory of one worker, as text with a unit (GB = 1e9 bytes, GiB = 2^30) or in bytes."""
    checkpoint_s: Annotated[float, Range(ge=0, le=86_400)] = 5.0
    """Minimum number of seconds between two checkpoints of a pack; 0 writes one after every epoch. If writing one takes long, they become
    less frequent, so that they take about 5 % of the time, but at least every 5 minutes. They are written only between epochs."""
    backend: Literal["auto", "loop", "loop+kernel", "vmap", "packed", "packed+products", "packed+pool", "packed+kernel"] = "auto"
    """How the passes of a pack are computed: one network after the other (`loop`; with the CPU's fused kernel: `loop+kernel`), by
    `torch.func.vmap`, or all at once (`packed`; with matrix products instead of convolutions: `packed+products`; with a GPU's fused
    kernel: `packed+kernel`; with it except for the first layers, which are products: `packed+pool`). `auto`: on a CPU `loop+kernel`, or
    `loop` without a C compiler; on a GPU the fastest one."""
    pack: PackSize = "auto"
    """How many trials a worker trains in lockstep: a number, or `auto`."""
    also: Annotated[tuple[OtherWorkers, ...], Field(max_length=8, examples=[[{"cpus": 1, "gpus": 0}]])] = ()
    """Further kinds of workers, for a cluster of unequal machines: a pack goes to the first kind that has room."""

    @property
    def uses_gpus(self) -> bool:
        """Whether every worker asks Ray for a GPU or a share of one."""
        return self.gpus > 0 and all(other.gpus > 0 for other in self.also)


class StudyConfig(BaseModel):
    """One study of several. Keys that it leaves out are taken from the top level of the grid file."""

    model_config = _STRICT

    name: Name
    """Name of the study; unique in the file."""
    model: ModelName | None = None
    """Architecture; default: the top level's."""
    method: Method | None = None
    """Training method; default: the top level's."""
    preferences: Preferences | None = None
    """Preference vectors; default: the top level's."""
    training: TrainingSettings | None = None
    """Training settings that differ from the top level's, key by key."""
    seeds: Seeds | None = None
    """Random seeds; default: the top level's."""
    after: After | None = None
    """Name of the study whose trials must be complete before this one starts, or a list of names. A method that inherits a network
    inherits it from there, and after a study with `candidates` the training uses the values of the best candidate."""
    candidates: Annotated[tuple[TrainingSettings, ...], Field(min_length=2, max_length=1000)] | None = None
    """A search: the study is trained once with each of these training settings, which replace the study's, key by key. The best
    candidate has the highest mean validation accuracy over preferences and seeds (without accuracies: the least mean validation loss)."""

    @property
    def after_names(self) -> tuple[str, ...]:
        """The studies that this one waits for."""
        return () if self.after is None else (self.after,) if isinstance(self.after, str) else self.after


class GridConfig(BaseModel):
    """Everything that a grid file says about one sweep, with every default."""

    model_config = _STRICT

    name: Name = "sweep"
    """Name of the sweep; default: the grid file's name."""
    problem: Annotated[ProblemConfig, Field(examples=["multidigits", {"name": "multidigits", "n_train": 3000}])]
    """The data and its tasks: a name, a mapping with the name and the problem's options, or a list of these (one sweep per problem).
    `my_module:factory` is a problem of your own (docs/own-problem.md)."""
    model: ModelName | None = None
    """Architecture; default: the problem's first one, which a loaded config contains."""
    method: Method = "wcal_growl"
    """Training method."""
    preferences: Preferences = "paper"
    """The preference vectors to train: sparsity first, then the tasks; each vector sums to 1."""
    seeds: Seeds = (0,)
    """Random seeds; every preference vector is trained once with each seed."""
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    """Training settings."""
    resources: Resources = Field(default_factory=Resources)
    """What one worker may use."""
    costs: Costs = Field(default_factory=Costs)
    """Prices of device time and energy, for `sweep plan` and the report."""
    output: Annotated[str, Field(min_length=1)] = "results/sweep"
    """Results folder, relative to the working directory, or an address (s3://bucket/prefix); default: results/<name>."""
    scaling: Literal["none", "anchors"] = "none"
    """`anchors` divides each objective by its value for a guess (tasks) or for the initial network (sparsity)."""
    reference_point: Annotated[ReferencePoint | None, Field(examples=[[0, 0.1, 0.1], "auto"])] = None
    """Reference point a of the Chebyshev form: one number per objective (sparsity, then the tasks) in the unit of the scaled objectives,
    or `auto`: a tenth below the best losses of anchor runs (one dense trial per task), which are trained first; default: zeros."""
    hypervolume_reference: Point | None = None
    """Nadir of the hypervolume, one number per objective: the share of the network that is kept for sparsity (at most 1), the losses in
    their units; default: 1 and the loss of a constant guess, or the exact front's nadir. A larger number for sparsity is a GrOWL norm of
    an earlier version and counts as 1."""
    hypervolume_ideal: Point | None = None
    """Ideal of the hypervolume, one number per objective, in the same units; default: zeros, or the exact front's ideal."""
    hypervolume_sparsity: Literal["rows", "parameters"] = "rows"
    """What the hypervolume counts for sparsity: the share of rows that are not zero, or of parameters that compression keeps."""
    studies: Annotated[tuple[StudyConfig, ...], Field(min_length=1, max_length=1000)] | None = None
    """Several studies in one sweep; without this key there is one study, named main."""

    @property
    def has_auto_reference(self) -> bool:
        """Whether the reference point comes from anchor runs."""
        return self.reference_point == AUTO

    @property
    def given_reference(self) -> tuple[float, ...] | None:
        """The reference point in the grid file, shape (n_objectives,); None for `auto` and if the file gives none."""
        return None if isinstance(self.reference_point, str) else self.reference_point

    def to_json(self) -> dict[str, Any]:
        """Return the config as plain JSON values, including defaults; `parse_config` turns them into an equal config."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class SweepConfig(GridConfig):
    """A sweep that can be planned: what its grid file says, and its studies with nothing left to look up. `sweep.grid.load` makes it."""

    resolved_studies: tuple[InstanceOf[Study], ...] = Field(exclude=True, repr=False)
    """The studies with their defaults, inherited settings and preference vectors, each after those it waits for; anchor runs come
    first. Not part of the grid file, so neither dumped nor shown."""
