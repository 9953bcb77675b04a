"""How long do operations on a results folder take on a disk and in an object store? `python -m tests.bench.store_places [FOLDER]`.

The object store is moto's server on this machine, once directly and once behind a proxy that delays each request by 30 ms. The
script prints one line of JSON for each place: milliseconds to publish a trial (row, 39 epochs, 400 kB of weights; the median of
30), and seconds of `complete()` over 100 loose rows for the first and the second time, of compaction, and of `complete()` after it.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "unit" / "sweep")]

from example_store import epochs_of, manifest_of_a_sweep, row_of  # noqa: E402
from object_store import CREDENTIALS, object_store, proxy_before  # noqa: E402 - found by the line above

from sweep.store.store import Store  # noqa: E402

N_ROWS, N_TIMED = 100, 30


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure(place: str) -> dict[str, float]:
    """Measure the operations on an empty results folder or prefix."""
    store, other = Store(place), Store(place)
    store.create(manifest_of_a_sweep())
    weights = os.urandom(400_000)
    timed = [
        seconds(lambda i=i: store.publish(row_of(f"t{i}"), epochs_of(39), weights + str(i).encode()))  # type: ignore[misc]
        for i in range(N_TIMED)
    ]
    for i in range(N_TIMED, N_ROWS):
        store.publish(row_of(f"t{i}"), epochs_of(3))
    return {
        "publish_ms": round(1e3 * statistics.median(timed), 1),
        "complete_s": round(seconds(other.complete), 3),
        "complete_again_s": round(seconds(other.complete), 3),
        "compact_s": round(seconds(store.compact), 3),
        "complete_compacted_s": round(seconds(Store(place).complete), 3),
    }


def main() -> None:
    """Measure the three places, one after the other."""
    os.environ.update(CREDENTIALS)
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    with object_store() as server, proxy_before(server) as proxy, tempfile.TemporaryDirectory(dir=folder) as disk:
        bucket = server.make_bucket("bench")
        proxy.delay_s = lambda request: 0.03
        places = {"disk": f"{disk}/r", "s3": server.address(bucket), "s3, 30 ms": server.address(bucket, "far", proxy.port)}
        for name, place in places.items():
            print(json.dumps({"place": name, **measure(place)}), flush=True)


if __name__ == "__main__":
    main()
