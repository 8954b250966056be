"""Identities by face and by the manifest's speaker; splits that share nobody and do not move."""

from __future__ import annotations

import numpy as np

from pipeline.config import FinalizeConfig
from pipeline.identities import assign_splits, cluster_identities


def _clips(people: list[int], seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    faces = rng.normal(size=(max(people) + 1, 512))
    rows = []
    for idx, person in enumerate(people):
        face = faces[person] + 0.3 * rng.normal(size=512)
        rows.append({"row_id": f"clip{idx:03d}", "face_embedding": (face / np.linalg.norm(face)).astype(np.float16)})
    return rows


def test_clips_of_one_face_share_a_name_and_others_do_not():
    names = cluster_identities(_clips([0, 1, 0, 2, 1, 0]), FinalizeConfig())
    assert names[0] == names[2] == names[5] and names[1] == names[4]
    assert len(set(names)) == 3


def test_the_order_of_clips_does_not_matter():
    rows = _clips([0, 1, 0, 2])
    forward = cluster_identities(rows, FinalizeConfig())
    assert cluster_identities(rows[::-1], FinalizeConfig())[::-1] == forward


def test_the_manifests_speaker_joins_what_faces_do_not():
    rows = _clips([0, 1])
    names = cluster_identities([row | {"speaker_id": "li"} for row in rows], FinalizeConfig())
    assert names[0] == names[1]


def test_no_clips_no_identities():
    assert cluster_identities([], FinalizeConfig()) == []


def test_splits_hold_about_their_share_and_added_people_move_nobody():
    few = [f"id-{n}" for n in range(1000)]
    before = assign_splits(few, FinalizeConfig())
    after = assign_splits([*few, *(f"id-{n}" for n in range(1000, 2000))], FinalizeConfig())
    assert all(after[name] == before[name] for name in few)
    assert 60 < sum(split != "train" for split in before.values()) < 140


def test_a_small_set_still_has_a_test_and_a_validation_speaker():
    splits = assign_splits(["id-a", "id-b", "id-c"], FinalizeConfig())
    assert sorted(splits.values()) == ["test", "train", "val"]
    assert set(assign_splits(["id-a", "id-b"], FinalizeConfig()).values()) == {"train"}
