"""Ray's dashboard, asked over HTTP with its token while a real run is on, and what its nodes export for Prometheus."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ruamel.yaml import YAML
from sweep_process import REPOSITORY, SweepProcess, live_of, sweep_process, write_grid

from analysis.formatting import preference_text
from sweep.cluster import gauges

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
]
TOKEN = "fedcba9876543210" * 4
MONITORING = REPOSITORY / "configs" / "monitoring"
LONG = {"outer_iterations": 40, "epochs": 25}
GRID: dict[str, Any] = {
    "name": "watched",
    "problem": {"name": "multidigits", "n_train": 256, "n_validation": 64, "n_test": 64},
    "preferences": {"list": [[0.02, 0.49, 0.49], [0.05, 0.475, 0.475], [0.1, 0.45, 0.45], [0.1, 0.3, 0.6]]},
    "training": {"batch_size": 64, "sparsify": LONG, "retrain": LONG, "growl": {"sparsity_min": 0}, "lsuv": {"n_samples": 128}},
    "resources": {"pack": 2},
    "output": "out",
}
"""Two packs that train for minutes: what is looked at ends them."""


class Watched(NamedTuple):
    """A run that is on, and where it can be looked at."""

    process: SweepProcess
    folder: Path
    dashboard: str
    nodes: list[str]
    """host:port of each node's exporter."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("m")
    write_grid(folder / "grid.yaml", **GRID)
    with sweep_process("run", "grid.yaml", folder=folder, RAY_AUTH_TOKEN=TOKEN) as process:
        process.until(lambda: live_of(folder / "out"), "running packs")
        (line,) = [line for line in process.printed().splitlines() if line.startswith("Ray dashboard: ")]
        url = line.removeprefix("Ray dashboard: ")
        yield Watched(process, folder, url, process.until(lambda: exporters(process), "exporters"))


def exporters(process: SweepProcess) -> list[str]:
    """What Ray tells Prometheus to scrape: the list lies in the session's folder, which its processes name."""
    for command in process.living().values():
        found = re.search(r"--session-dir[ =](\S+)", command)
        if found:
            with contextlib.suppress(OSError, ValueError):
                targets = json.loads(Path(found[1], "prom_metrics_service_discovery.json").read_text())
                return [target for group in targets for target in group["targets"]]
    return []


def get(url: str, token: str | None = TOKEN) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(answer.read().decode())


def until(run: Watched, what: str, path: str, wanted: str) -> str:
    """The dashboard's answer once it holds a text."""

    def answer() -> str | None:
        with contextlib.suppress(urllib.error.URLError, TimeoutError):
            text = get(run.dashboard + path)
            return text if wanted in text else None
        return None

    return str(run.process.until(answer, what, timeout=90))


def labels_of(run: Watched) -> list[str]:
    """What the running packs should be called."""
    packs = live_of(run.folder / "out")
    return [f"{pack['pack_id']} {pack['trial_ids'][0]} k={preference_text(pack['k'][0])} and 1 more" for pack in packs]


def exported(run: Watched) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Metric -> labels and value of each of its series, over all nodes."""
    series: dict[str, list[tuple[dict[str, str], float]]] = {}
    for target in run.nodes:
        with contextlib.suppress(urllib.error.URLError, TimeoutError):
            for line in get(f"http://{target}/metrics", token=None).splitlines():
                found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
                if found and not line.startswith("#"):
                    labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
                    series.setdefault(found[1], []).append((labels, float(found[3])))
    return series


@pytest.fixture(scope="module")
def metrics(run: Watched) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What is exported once the driver and a worker have done so."""
    wanted = {f"ray_{about[0]}" for about in (gauges.TRIALS, gauges.PAUSED, *gauges.OF_PACKS.values())}

    def complete() -> dict[str, list[tuple[dict[str, str], float]]] | None:
        found = exported(run)
        return found if wanted <= found.keys() else None

    return dict(run.process.until(complete, "every gauge", timeout=120))


# -- the dashboard --------------------------------------------------------------------------------------------------------


def test_the_dashboard_asks_for_the_token(run: Watched) -> None:
    for token in (None, "0" * 64):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{run.dashboard}/api/jobs/", token=token)
        assert refused.value.code in (401, 403)


def test_the_jobs_page_names_sweep_folder_and_counts(run: Watched) -> None:
    (job,) = json.loads(get(f"{run.dashboard}/api/jobs/"))
    assert job["metadata"] == {
        "job_name": "sweep watched",
        "sweep": "watched",
        "folder": str(run.folder / "out"),
        "attempt": "1",
        "trials": "4",
        "trials_to_train": "4",
        "packs": "2",
    }
    assert job["entrypoint"].endswith("-m sweep.cluster.driver watched-1")


def test_actors_and_placement_groups_are_called_by_pack_trial_and_k(run: Watched) -> None:
    assert labels_of(run)
    for label in labels_of(run):
        actors = json.loads(until(run, "actors", "/api/v0/actors?detail=true", label))
        names = [actor["repr_name"] for actor in actors["data"]["result"]["result"] if actor["class_name"].endswith("PackTrainable")]
        assert label in names
        groups = json.loads(until(run, "placement groups", "/api/v0/placement_groups?detail=true", label))
        assert any(group["name"].startswith(f"sweep/{label}/") for group in groups["data"]["result"]["result"])


# -- Prometheus and Grafana -----------------------------------------------------------------------------------------------


def test_the_gauges_say_what_the_status_says(run: Watched, metrics: dict[str, list[tuple[dict[str, str], float]]]) -> None:
    trials = {labels["state"]: value for labels, value in metrics["ray_sweep_trials"] if labels["sweep"] == "watched"}
    assert set(trials) == {"ok", "diverged", "error", "running", "left"}
    assert sum(trials.values()) == len(GRID["preferences"]["list"])
    assert [value for _, value in metrics["ray_sweep_paused"]] == [0.0]
    packs = {pack["pack_id"] for pack in live_of(run.folder / "out")}
    for name in ("epoch", "epochs", "accuracy", "sparsity_rate", "samples_per_second"):
        assert {labels["pack"] for labels, _ in metrics[f"ray_sweep_{name}"]} <= packs
        assert {(labels["sweep"], labels["study"]) for labels, _ in metrics[f"ray_sweep_{name}"]} == {("watched", "main")}
    assert all(value > 0 for _, value in metrics["ray_sweep_epoch"])
    assert {value for _, value in metrics["ray_sweep_epochs"]} == {2 * 40 * 25}
    assert all(0 < value <= 1 for _, value in metrics["ray_sweep_accuracy"])
    assert all(0 <= value <= 1 for _, value in metrics["ray_sweep_sparsity_rate"])
    assert all(value > 0 for _, value in metrics["ray_sweep_samples_per_second"])


def grafana_dashboard() -> dict[str, Any]:
    return dict(json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8")))


def expressions() -> list[str]:
    dashboard = grafana_dashboard()
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*panels, *(variable["definition"] for variable in dashboard["templating"]["list"] if variable["type"] == "query")]


def test_the_grafana_dashboard_asks_only_for_what_a_run_exports(metrics: dict[str, list[tuple[dict[str, str], float]]]) -> None:
    asked = {name for expression in expressions() for name in re.findall(r"\bray_\w+", expression)}
    assert asked <= metrics.keys(), asked - metrics.keys()
    ours = {f"ray_{about[0]}" for about in (gauges.TRIALS, gauges.PAUSED, *gauges.OF_PACKS.values())}
    assert ours <= asked, "every gauge is shown"
    for expression in expressions():
        for name, selector in re.findall(r"(ray_\w+)\{(.*?)\}", expression):
            labels = {label for label, _ in re.findall(r'(\w+)=~?"(.*?)"', selector)}
            assert labels <= metrics[name][0][0].keys(), expression
    for panel in grafana_dashboard()["panels"]:
        legend = {label for target in panel["targets"] for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])}
        assert legend <= {"sweep", "study", "pack", "state", "instance"}


def test_the_panels_of_the_grafana_dashboard_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in grafana_dashboard()["panels"]:
        place = panel["gridPos"]
        mine = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & mine, panel["title"]
        assert max(x for x, _ in mine) < 24
        cells |= mine
    assert len({panel["id"] for panel in grafana_dashboard()["panels"]}) == len(grafana_dashboard()["panels"])


def test_the_scrape_configuration_reads_the_list_that_ray_writes(run: Watched) -> None:
    config = YAML(typ="safe").load(MONITORING / "prometheus.yml")
    (job,) = config["scrape_configs"]
    (discovery,) = job["file_sd_configs"]
    assert discovery["files"] == ["/tmp/ray/prom_metrics_service_discovery.json"]
    assert Path(discovery["files"][0]).exists()
    assert run.nodes


def test_prometheus_scrapes_a_run_and_answers_every_panel(
    run: Watched, metrics: dict[str, list[tuple[dict[str, str], float]]], tmp_path: Path
) -> None:
    """A real Prometheus with the shipped configuration, except that the list is this session's own."""
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("not run: needs prometheus (Debian: apt install prometheus)")
    targets = tmp_path / "targets.json"
    targets.write_text(json.dumps([{"labels": {"job": "ray"}, "targets": run.nodes}]))
    text = (MONITORING / "prometheus.yml").read_text(encoding="utf-8")
    assert text.count("[/tmp/ray/prom_metrics_service_discovery.json]") == 1
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/tmp/ray/prom_metrics_service_discovery.json", str(targets)).replace(": 10s", ": 2s"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    command = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={address}"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for expression in expressions():
            if not expression.startswith("label_values"):
                query = urllib.parse.quote(expression.replace("$sweep", ".*"))
                found = run.process.until(lambda query=query: answered(address, query), f"an answer to {expression}", timeout=90)
                assert all(float(series["value"][1]) >= 0 for series in found), expression
    finally:
        server.terminate()
        server.wait()


def answered(address: str, query: str) -> list[dict[str, Any]]:
    """The series of a query; none until there is a sample."""
    with contextlib.suppress(urllib.error.URLError, TimeoutError):
        return list(json.loads(get(f"http://{address}/api/v1/query?query={query}", token=None))["data"]["result"])
    return []
