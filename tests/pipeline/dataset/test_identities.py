"""Identities by face and by the manifest's speaker; splits that share nobody and do not move."""

from __future__ import annotations

import numpy as np

from pipeline.dataset.identities import assign_splits, cluster_identities
from pipeline.rules.config import FinalizeConfig


def _clips(people: list[int], seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    faces = rng.normal(size=(max(people) + 1, 512))
    rows = []
    for idx, person in enumerate(people):
        face = faces[person] + 0.3 * rng.normal(size=512)
        rows.append({"row_id": f"clip{idx:03d}", "face_embedding": (face / np.linalg.norm(face)).astype(np.float16)})
    return rows


def _named(rows: list[dict], known: dict[str, str] | None = None) -> dict[str, str]:
    names = cluster_identities(rows, FinalizeConfig(), known)
    return {row["row_id"]: name for row, name in zip(rows, names, strict=True)}


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


def test_people_keep_their_names_when_clips_are_added_whose_ids_come_first():
    rows = _clips([0, 1, 0, 2])
    known = _named(rows)
    more = [row | {"row_id": f"a-{row['row_id']}"} for row in _clips([0, 1, 0, 2])]
    grown = _named([*more, *rows], known)
    assert {name: grown[name] for name in known} == known
    assert set(_named([*more, *rows]).values()).isdisjoint(known.values())  # by the first id alone all would be renamed


def test_people_who_turn_out_to_be_one_take_the_name_of_the_greater_part():
    rows = _clips([0, 1, 1])
    known = _named(rows)
    merged = _named([row | {"speaker_id": "li"} for row in rows], known)
    assert set(merged.values()) == {known["clip001"]}


def test_of_a_person_who_turns_out_to_be_two_the_greater_part_keeps_the_name():
    rows = _clips([0, 0, 1, 1, 1])
    known = dict.fromkeys([row["row_id"] for row in rows], cluster_identities(rows[:1], FinalizeConfig())[0])
    parted = _named(rows, known)
    assert parted["clip002"] == parted["clip004"] == known["clip002"]
    assert parted["clip000"] == parted["clip001"] not in known.values()


def test_many_clips_of_few_people_are_joined_across_blocks():
    people = [idx % 3 for idx in range(1300)]
    names = cluster_identities(_clips(people), FinalizeConfig())
    assert [names[idx % 3] for idx in range(1300)] == names and len(set(names)) == 3


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


def test_a_small_set_that_grows_moves_nobody():
    people = [f"id-{n}" for n in range(40)]
    splits: dict[str, str] = {}
    for number in range(1, len(people) + 1):
        grown = assign_splits(people[:number], FinalizeConfig(), splits)
        assert {name: grown[name] for name in splits} == splits
        splits = grown
    assert {"train", "val", "test"} == set(splits.values())


def test_a_small_set_gets_its_test_and_validation_speaker_from_those_who_are_new():
    known = {"id-a": "train", "id-b": "train"}
    assert sorted(assign_splits([*"uvw", *known], FinalizeConfig(), known).values()) == ["test", *["train"] * 3, "val"]
