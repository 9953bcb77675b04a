"""The files that start a cluster: what can be known of them without one."""

import copy
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import sweep
from sweep.cluster.slots import slots_of, worker_kinds
from sweep.grid.load import parse_config

FILES = Path(sweep.__file__).parents[1] / "configs" / "cluster"

# The keys of KubeRay's resource definitions (ray.io/v1) and, behind them, those that must be there.
RAY_JOB = (
    {
        *("activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint", "entrypointNumCpus"),
        *("entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata", "rayClusterSpec", "runtimeEnvYAML"),
        *("shutdownAfterJobFinishes", "submissionMode", "submitterConfig", "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished"),
    },
    {"entrypoint", "rayClusterSpec"},
)
RAY_CLUSTER = (
    {
        *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec"),
        *("headServiceAnnotations", "managedBy", "rayVersion", "suspend", "workerGroupSpecs"),
    },
    {"headGroupSpec"},
)
HEAD = ({"enableIngress", "headService", "rayStartParams", "serviceType", "template"}, {"rayStartParams", "template"})
WORKERS = (
    {
        *("groupName", "idleTimeoutSeconds", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams", "replicas"),
        *("scaleStrategy", "suspend", "template"),
    },
    {"groupName", "maxReplicas", "minReplicas", "rayStartParams", "template"},
)
QUANTITY = re.compile(r"\d+(\.\d+)?([KMGT]i?|m)?")


def documents(name: str) -> list[Any]:
    return list(YAML(typ="safe").load_all(FILES / name))


def has_keys(found: dict[str, Any], keys: tuple[set[str], set[str]]) -> None:
    allowed, required = keys
    assert found.keys() <= allowed
    assert required <= found.keys()


def test_the_kuberay_manifest_has_the_shape_of_its_definition() -> None:
    claim, job = documents("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    has_keys(job["spec"], RAY_JOB)
    cluster = job["spec"]["rayClusterSpec"]
    has_keys(cluster, RAY_CLUSTER)
    has_keys(cluster["headGroupSpec"], HEAD)
    for group in cluster["workerGroupSpecs"]:
        has_keys(group, WORKERS)
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert claim["kind"] == "PersistentVolumeClaim"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_every_pod_of_the_kuberay_manifest_has_the_same_program_and_the_results() -> None:
    claim, job = documents("rayjob.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    output = shlex.split(job["spec"]["entrypoint"])[-1]
    for pod in pods:
        (container,) = pod["containers"]
        assert container["image"] == pods[0]["containers"][0]["image"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        (mount,) = [path for path in mounts if output.startswith(f"{path}/")]
        assert mounts[mount]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        for amounts in container["resources"].values():
            assert all(QUANTITY.fullmatch(str(amount)) for amount in amounts.values())
        assert all(isinstance(variable["value"], str) for variable in container.get("env", ()))
    assert all(isinstance(value, str) for value in cluster["headGroupSpec"]["rayStartParams"].values())


def test_the_rayjobs_entrypoint_is_a_command_of_ours(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from sweep.cli.commands import cli

    _, job = documents("rayjob.yaml")
    program, command, _, *options = shlex.split(job["spec"]["entrypoint"])
    assert (program, command) == ("sweep", "run")
    result = CliRunner().invoke(cli, ["plan", str(_grid(tmp_path)), *options])
    assert result.exit_code == 0, result.output


def test_the_launcher_file_is_what_ray_expects() -> None:
    validate, prepare = _ray_autoscaler()
    (config,) = documents("launcher.yaml")
    complete = prepare(copy.deepcopy(config))
    validate(complete)
    for name in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[name]:
            subprocess.run(["bash", "-n", "-c", command], check=True)

    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        validate(complete | {"max_workers": "many"})


def test_the_launchers_kinds_of_machines_train_at_once() -> None:
    """By the `resources` that the file itself names."""
    (config,) = documents("launcher.yaml")
    text = (FILES / "launcher.yaml").read_text(encoding="utf-8")
    (line,) = re.findall(r"#\s+(resources: \{gpus.*)", text)
    kinds = worker_kinds(parse_config({"problem": "multidigits", **YAML(typ="safe").load(line)}).resources)
    types = config["available_node_types"]

    def node(name: str) -> dict[str, float]:
        return {name: float(amount) for name, amount in types[name]["resources"].items()}

    assert slots_of(kinds, [node("head")]) == (0, 0)
    assert slots_of(kinds, [node("gpu")]) == (4, 0)
    assert slots_of(kinds, [node("cpu")]) == (0, 16)


def test_the_batch_file_is_a_shell_script() -> None:
    subprocess.run(["bash", "-n", FILES / "slurm.sh"], check=True)
    ended = subprocess.run(["bash", FILES / "slurm.sh"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "a grid file is missing" in ended.stderr
    assert (FILES / "slurm.sh").stat().st_mode & 0o111


def _grid(folder: Path) -> Path:
    path = folder / "grid.yaml"
    path.write_text("problem: multidigits\n", encoding="utf-8")
    return path


def _ray_autoscaler() -> tuple[Any, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    return validate_config, prepare_config
