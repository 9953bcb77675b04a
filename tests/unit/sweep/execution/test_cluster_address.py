"""Which Ray a run uses, from the command and from Ray's own variables."""

import pytest

from sweep.errors import SweepError
from sweep.execution.cluster_address import cluster_address, joining_note, refuse_job_folder

JOB = {"RAY_ADDRESS": "10.0.0.1:6379", "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}


@pytest.mark.parametrize(
    ("given", "environment", "joined"),
    [
        (None, {}, None),
        ("auto", {}, "auto"),
        ("10.0.0.2:1", JOB, "10.0.0.2:1"),
        (None, JOB, "10.0.0.1:6379"),
        ("local", JOB, None),
        (None, {"RAY_ADDRESS": "local"}, None),
        (None, {"RAY_ADDRESS": "  "}, None),
        (None, {"RAY_ADDRESS": "http://127.0.0.1:8265"}, None),  # for the `ray job` commands
        ("local", {"RAY_ADDRESS": "ray://10.0.0.1:10001"}, None),
    ],
)
def test_the_command_counts_before_the_variable(given: str | None, environment: dict[str, str], joined: str | None) -> None:
    assert cluster_address(given, environment) == joined


def test_a_cluster_that_only_the_variable_names_is_told() -> None:
    assert "a submitted job: joining the cluster at 10.0.0.1:6379" in (joining_note(None, JOB) or "")
    assert "RAY_ADDRESS is set" in (joining_note(None, {"RAY_ADDRESS": "auto"}) or "")
    assert joining_note("auto", JOB) is None
    assert joining_note(None, {}) is None


def test_ray_client_is_refused() -> None:
    with pytest.raises(SweepError, match="Ray Client\n  hint: `ray job submit"):
        cluster_address(None, {"RAY_ADDRESS": "ray://10.0.0.1:10001"})


def test_results_in_a_jobs_own_folder_are_refused() -> None:
    unpacked = "/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1/results/x"
    with pytest.raises(SweepError, match="temporary folder, which Ray removes"):
        refuse_job_folder(unpacked, JOB)
    refuse_job_folder(unpacked, {})
    refuse_job_folder("/shared/results/x", JOB)
