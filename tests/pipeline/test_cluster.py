"""Several raylets on one machine give the data set that one node gives; what they count reaches Prometheus."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from manifests.demo.corpus import make_corpus

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("clean_astronaut_1", "english", "no_audio", "not_a_video")
WHEN_AND_WHERE = ["retrieved_at", "media_path", "versions"]


@pytest.fixture(scope="module")
def corpus(weights, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder, weights, names=NAMES)
    return folder / "manifest.yaml"


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        raylets = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(3):
            raylets.add_node(num_cpus=1, object_store_memory=200_000_000)
        yield raylets
        raylets.shutdown()


def _run(manifest: Path, out: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "pipeline/run.py", "--manifest", str(manifest), "--out", str(out), *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _metrics(cluster: Cluster) -> str:
    addresses = [f"http://{node.node_ip_address}:{node.metrics_export_port}" for node in cluster.list_all_nodes()]
    pages = []
    for address in addresses:
        with urllib.request.urlopen(address, timeout=60) as page:  # noqa: S310 - a raylet of our own
            pages.append(page.read().decode())
    return "\n".join(pages)


@pytest.mark.cluster
def test_several_raylets_give_what_one_node_gives(corpus, cluster, tmp_path):
    alone = _run(corpus, tmp_path / "alone")
    assert alone.wait() == 0, alone.stdout and alone.stdout.read()
    together = _run(corpus, tmp_path / "together", f"run.ray_address={cluster.address}")
    seen = ""
    while together.poll() is None:  # the counts are those of a run that is going on
        seen = max(seen, _metrics(cluster), key=lambda page: page.count("kouxing"))
        time.sleep(2)
    assert together.returncode == 0, together.stdout and together.stdout.read()
    assert re.search(r'kouxing_rows\w*\{[^}]*reason="not_video"[^}]*stage="probe"[^}]*\} 1', seen), seen[-2000:]
    for name in ("ledger.parquet", "shards"):
        tables = [pq.read_table(tmp_path / out / name) for out in ("alone", "together")]
        rows = [table.drop([c for c in WHEN_AND_WHERE if c in table.column_names]).to_pylist() for table in tables]
        assert rows[0] == rows[1]
