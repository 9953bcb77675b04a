"""torchvision, also where its compiled half does not fit the torch that is installed."""

import importlib
from types import ModuleType
from typing import Any

_schemas: list[Any] = []


def import_torchvision() -> ModuleType:
    """The package `torchvision`.

    The registry's torchvision is built for its CUDA torch. Beside a CPU torch its compiled half does not load, and the
    import stops at `operator torchvision::nms does not exist`, although data sets and classifiers need no operator. The
    import passes once the two operators it describes are declared; declaring them first would break a torchvision that
    has them.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    from torch.library import Library

    library = Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.append(library)  # a library that is collected takes its operators along
    return importlib.import_module("torchvision")
