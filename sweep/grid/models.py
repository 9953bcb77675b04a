"""The frozen pydantic models of the grid file. `sweep.config` is their door."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, TypeAdapter, WithJsonSchema
from pydantic_core import PydanticKnownError

from sweep.grid.json_schema import METHOD_NAMES, MODEL_NAMES
from sweep.grid.preferences import Preferences
from sweep.grid.resolve import resolve_studies
from sweep.grid.source.mistakes import ConfigError
from sweep.grid.study import Study
from trainer.catalog import METHODS, Entry, find_problem
from trainer.problems.facts import ProblemFacts
from trainer.settings import Range, TrainingSettings


class Costs(BaseModel):
    """Prices and factors for `sweep plan` and the report; changing them trains nothing again."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, defer_build=True)

    usd_per_device_hour: Annotated[float, Range(ge=0, le=1e6)] | None = None
    """Price of what one worker trains on (a GPU, or its CPU cores), US dollars an hour; default: unknown."""
    usd_per_kwh: Annotated[float, Range(ge=0, le=1e6)] | None = None
    """Price of electricity, US dollars a kilowatt-hour; default: unknown."""
    g_co2_per_kwh: Annotated[float, Range(ge=0, le=1e6)] | None = None
    """Grams of CO2 that a kilowatt-hour stands for where the devices are; default: unknown."""


_MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]i?)?B", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_MAX_BYTES = 2**50
AUTO = "auto"


def _is_whole(value: Any) -> bool:
    """Whether this is a whole number, as `3000` or as `3e3`."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def parse_memory(value: Any) -> Any:
    """`1.5GB` -> 1500000000 (GB = 1e9, GiB = 2**30); whole numbers are bytes already; anything else is refused."""
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

# Building the validators waits for the first use: `sweep --help` needs none.
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, defer_build=True)


class ProblemConfig(BaseModel):
    """The data, by name or by the path of a factory of one's own, and its options (which ones, the problem says)."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, use_attribute_docstrings=True, defer_build=True)

    name: str
    """Name of the problem, or `my_package.my_module:factory` of one's own."""
    import_from: tuple[str, ...] | None = None
    """Folders that the module of an own problem is imported from; default: the grid file's folder, then the working directory."""

    @cached_property
    def entry(self) -> Entry:
        """The problem's entry; of an own problem the factory as it is when this is first asked for.

        Raises:
            KeyError: not in the catalog; never for a config from `load_config`.
            ProblemError: an own problem that cannot be imported.
        """
        return find_problem(self.name, self.import_from or ())

    @cached_property
    def options(self) -> Any:
        """The problem's options dataclass, defaults filled in."""
        return TypeAdapter(self.entry.options).validate_python(self.__pydantic_extra__ or {})  # the lists of JSON become tuples

    @cached_property
    def facts(self) -> ProblemFacts:
        """Tasks and objectives, as the options settle them; an own problem without `facts` is built for them."""
        return self.entry.facts(self.options)


class OtherWorkers(BaseModel):
    """What one worker of another kind may use."""

    model_config = _STRICT

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where it trains; `auto` is a GPU for a worker that asks for one, and the CPU otherwise."""
    cpus: Annotated[float, Range(gt=0, le=10_000)] = 1.0
    """CPU cores of one worker."""
    gpus: Annotated[float, Range(ge=0, le=1_000)] = 0.0
    """GPUs of one worker, or its share of one."""
    memory: Bytes = 1_500_000_000
    """Memory of one worker, as text with a unit (GB = 1e9 bytes, GiB = 2^30) or in bytes."""


class Resources(BaseModel):
    """What one worker may use."""

    model_config = _STRICT

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where workers train; `auto` takes a GPU where there is one."""
    cpus: Annotated[float, Range(gt=0, le=10_000)] = 1.0
    """CPU cores of one worker. On a CPU it trains on one thread; beside a GPU it clusters on all of them."""
    gpus: Annotated[float, Range(ge=0, le=1_000)] = 0.0
    """GPUs of one worker; 0.5 lets two workers share one, of which one trains while the other clusters or writes its rows."""
    memory: Bytes = 1_500_000_000
    """Memory of one worker, as text with a unit (GB = 1e9 bytes, GiB = 2^30) or in bytes."""
    checkpoint_s: Annotated[float, Range(ge=0, le=86_400)] = 5.0
    """Seconds between two checkpoints of a pack; 0 keeps every epoch. An epoch is the smallest unit."""
    backend: Literal["auto", "loop", "loop+kernel", "vmap", "packed", "packed+products", "packed+kernel"] = "auto"
    """How a pack's passes are computed: one network after the other (`loop`; with the CPU's fused kernel: `loop+kernel`), by
    `torch.func.vmap`, or all at once (`packed`; with matrix products instead of grouped convolutions: `packed+products`; with a
    GPU's fused kernel: `packed+kernel`). `auto`: `loop+kernel` on a CPU with a C compiler, `loop` without; on a GPU the fastest."""
    pack: PackSize = "auto"
    """How many trials a worker trains in lockstep: a number, or `auto`."""
    also: Annotated[tuple[OtherWorkers, ...], Field(max_length=8, examples=[[{"cpus": 1, "gpus": 0}]])] = ()
    """Workers of other kinds beside these, on a cluster of unlike machines: a pack goes to the first kind that has room."""

    @property
    def uses_gpus(self) -> bool:
        """Whether every worker asks Ray for a GPU or a part of one."""
        return self.gpus > 0 and all(other.gpus > 0 for other in self.also)


class StudyConfig(BaseModel):
    """One study of several. What it leaves out it takes from the top level of the grid file."""

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
    """Constants of the training that differ from the top level's, key by key."""
    seeds: Seeds | None = None
    """Random seeds; default: the top level's."""
    after: After | None = None
    """Name of the study whose trials must be complete before this one starts, or a list of names. A method that takes something
    over takes it from there, and after a study with `candidates` the training has the values of the best one."""
    candidates: Annotated[tuple[TrainingSettings, ...], Field(min_length=2, max_length=1000)] | None = None
    """A search: the study is trained once with each of these trainings, which differ from the study's, key by key. The best one
    has the highest mean validation accuracy over preferences and seeds (without accuracies: the least mean validation loss)."""

    @property
    def after_names(self) -> tuple[str, ...]:
        """The studies that this one waits for."""
        return () if self.after is None else (self.after,) if isinstance(self.after, str) else self.after


class SweepConfig(BaseModel):
    """All that a grid file says, with every default."""

    model_config = _STRICT

    name: Name = "sweep"
    """Name of the sweep; default: the grid file's name."""
    problem: Annotated[ProblemConfig, Field(examples=["multidigits", {"name": "multidigits", "n_train": 3000}])]
    """The data and its tasks: a name, a mapping with the name and the problem's options, or a list of them (one sweep a problem).
    `my_module:factory` is a problem of your own (docs/own-problem.md)."""
    model: ModelName | None = None
    """Architecture; default: the problem's first one, which a loaded config names."""
    method: Method = "wcal_growl"
    """Training method."""
    preferences: Preferences = "paper"
    """Which preference vectors are trained: sparsity first, then the tasks; each vector sums to 1."""
    seeds: Seeds = (0,)
    """Random seeds; every preference vector is trained once for each."""
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    """Constants of the training."""
    resources: Resources = Field(default_factory=Resources)
    """What one worker may use."""
    costs: Costs = Field(default_factory=Costs)
    """What device time and energy cost, for `sweep plan` and the report."""
    output: Annotated[str, Field(min_length=1)] = "results/sweep"
    """Folder of the results, relative to where the command runs, or an address (s3://bucket/prefix); default: results/<name>."""
    scaling: Literal["none", "anchors"] = "none"
    """`anchors` divides each objective by its value for a guess (tasks) or for the initial network (sparsity)."""
    reference_point: Annotated[ReferencePoint | None, Field(examples=[[0, 0.1, 0.1], "auto"])] = None
    """a of the Chebyshev form: one number an objective (sparsity, then the tasks) in the unit of the scaled objectives, or
    `auto`: a tenth below the best losses of anchor runs (one dense trial a task), which are trained first; default: zeros."""
    hypervolume_reference: Point | None = None
    """Upper corner for the hypervolume, one number an objective, in the objectives' units; default: from the first results."""
    studies: Annotated[tuple[StudyConfig, ...], Field(min_length=1, max_length=1000)] | None = None
    """Several studies in one sweep; without it there is one, named main."""

    @property
    def has_auto_reference(self) -> bool:
        """Whether the reference point comes from anchor runs."""
        return self.reference_point == AUTO

    @property
    def given_reference(self) -> tuple[float, ...] | None:
        """The reference point's numbers in the grid file; None for `auto` and where it gives none."""
        return None if isinstance(self.reference_point, str) else self.reference_point

    @cached_property
    def resolved_studies(self) -> tuple[Study, ...]:
        """The studies with all they inherit and their preference vectors, each after the one it waits for; anchor runs come first.

        Raises:
            ConfigError: rules between sections are broken; never for a config from `load_config` or `parse_config`.
        """
        studies, mistakes = resolve_studies(self)
        if mistakes:
            raise ConfigError(mistakes)
        return studies

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values, defaults included; `parse_config` of it is equal."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
