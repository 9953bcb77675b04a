"""What device time and energy cost: the grid file's `costs`. No result depends on it, so neither ids nor the manifest hold it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict

from trainer.settings import Range


class Costs(BaseModel):
    """Prices and factors for `sweep plan` and the report; changing them trains nothing again."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, defer_build=True)

    usd_per_device_hour: Annotated[float, Range(ge=0, le=1e6)] | None = None
    """Price of what one worker trains on (a GPU, or its CPU cores), US dollars an hour; default: unknown."""
    usd_per_kwh: Annotated[float, Range(ge=0, le=1e6)] | None = None
    """Price of electricity, US dollars a kilowatt-hour; default: unknown."""
    g_co2_per_kwh: Annotated[float, Range(ge=0, le=1e6)] | None = None
    """Grams of CO2 that a kilowatt-hour stands for where the devices are; default: unknown."""
