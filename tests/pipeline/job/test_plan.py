"""The plan is the only file that knows the stages by name."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.job import plan
from pipeline.job.plan import STAGE_NAMES, STAGES
from pipeline.rules.config import Config
from stages.core.records import STAGE_COLUMNS
from stages.core.weights import WeightStore
from stages.crawl import CrawlConfig, HostGate

JOB = Path(plan.__file__).parent


def strings(file: Path) -> set[str]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_nothing_else_of_a_job_names_a_stage() -> None:
    named = {file.name: strings(file) & set(STAGE_NAMES) for file in JOB.glob("*.py")}
    assert {name for name, found in named.items() if found} == {"plan.py"}
    assert named["plan.py"] == set(STAGE_NAMES)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.splits], ids=lambda stage: stage.name)
def test_a_stage_that_splits_writes_what_counts_its_rows(stage: plan.Stage) -> None:
    assert stage.splits is not None
    assert set(stage.splits) <= set(STAGE_COLUMNS[stage.name].names)


def test_only_stages_that_ask_hosts_are_built_with_the_gate(tmp_path: Path) -> None:
    gate = HostGate(CrawlConfig())
    given: list[object] = []

    def build(_config: Config, _weights: WeightStore, _out: Path, gate: object = None) -> Any:
        given.append(gate)

    for stage in STAGES:
        replace(stage, build=build).behind(gate).build(Config(), WeightStore(tmp_path), tmp_path)
    assert given == [gate if "uri" in stage.reads else None for stage in STAGES]
