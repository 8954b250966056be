"""The cluster descriptions are what their readers take, and name what is here."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from ray.autoscaler._private.util import fillout_defaults, validate_config

ROOT = Path(__file__).resolve().parents[2]


def test_the_cluster_launcher_takes_the_file():
    described = fillout_defaults(yaml.safe_load((ROOT / "ray_cluster.yaml").read_text()))
    validate_config(described)
    spot = [
        kind for kind in described["available_node_types"].values() if "InstanceMarketOptions" in kind["node_config"]
    ]
    assert len(spot) == 2


def test_the_ray_job_names_the_locked_ray_and_files_that_are_there():
    job = yaml.safe_load((ROOT / "docs" / "guide" / "rayjob.yaml").read_text())
    locked = re.search(r"^ray==(.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked and job["spec"]["rayClusterSpec"]["rayVersion"] == locked[1]
    script = re.search(r"/kouxing/(pipeline/\S+)", job["spec"]["entrypoint"])
    assert script and (ROOT / script[1]).is_file()
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    assert len({group["template"]["spec"]["containers"][0]["image"] for group in groups}) == 1
