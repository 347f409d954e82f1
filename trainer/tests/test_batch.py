"""The contract's fixtures, read by the JSON Schema and by the reader; then what only whole batches can get wrong."""

import copy
import gzip
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from nightshift_trainer.batch import GROUPS, check_fits, parse_group, parse_manifest, read_batch
from nightshift_trainer.config import RunConfig, first_problem
from nightshift_trainer.errors import DatasetError
from nightshift_trainer.handover import MANIFEST
from tests.run_files import call, group, member, write_batch, write_raw_batch

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "trainer/nightshift_trainer/schema"


def cases() -> list[Any]:
    found = []
    for name in ("group-line", "batch-manifest", "run"):
        fixture = json.loads((ROOT / f"test/fixtures/batch/{name}.json").read_text())
        for case in fixture["cases"]:
            found.append(pytest.param(name, fixture["valid"], case, id=f"{name}: {case['name']}"))
    return found


@pytest.mark.parametrize(("name", "valid", "case"), cases())
def test_reader_and_schema_agree(name: str, valid: dict[str, Any], case: dict[str, Any]) -> None:
    value = changed(valid, case)
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    accepts = case.get("accept", False)
    seen = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert seen == (accepts or case.get("unseenBySchema", False))
    problem = read(name, value)
    if accepts:
        assert problem is None
    else:
        assert problem is not None
        path = re.sub(r"^.*?(: | line 7: )", "", problem).split(":")[0]
        assert f"{case['at']}.".startswith(f"{path}."), problem


def read(name: str, value: object) -> str | None:
    text = json.dumps(value)
    try:
        if name == "group-line":
            parse_group(text.encode(), "batch-1/groups.jsonl.gz", 7)
        elif name == "batch-manifest":
            parse_manifest(json.loads(text), "manifest.json")
        else:
            RunConfig.model_validate_json(text)
    except DatasetError as error:
        return str(error)
    except ValidationError as error:
        return f"run.json: {first_problem(error)}"
    return None


def changed(valid: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(valid)

    def place(path: str) -> tuple[Any, Any]:
        node: Any = result
        *parents, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
        for key in parents:
            node = node[key]
        return node, last

    for path, value in case.get("set", {}).items():
        node, key = place(path)
        node[key] = value
    for path in case.get("drop", []):
        node, key = place(path)
        del node[key]
    return result


GOOD = group(
    "g1", [member("r1", 1.0, [call([1, 2], [3], [-0.5])]), member("r2", 0.0, [call([1, 2], [4], [-0.7])])]
)


def test_a_whole_batch_is_read_in_order(tmp_path: Path) -> None:
    write_batch(tmp_path, 2, [GOOD, group("g2", [member("r3", None, [])], weight=0.5)])
    batch = read_batch(tmp_path, 2)
    assert batch is not None
    assert [(g.group_id, g.weight, g.line) for g in batch.groups] == [("g1", 1, 1), ("g2", 0.5, 2)]
    assert batch.groups[0].members[1].calls[0].logprobs == (-0.7,)
    assert batch.groups[1].members[0].masked


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (json.dumps(GOOD).replace("1.0", "NaN"), "line 2: members.0.reward: Input should be a finite number"),
        (json.dumps(GOOD).replace("-0.7", "-Infinity"), "line 2: members.1.calls.0.logprobs.0"),
        (json.dumps(GOOD).replace("[-0.7]", "[]"), "line 2: members.1.calls.0.logprobs"),
        (
            json.dumps(GOOD).replace("[-0.7]", "[-0.7, -0.7]"),
            "line 2: members.1.calls.0: .* 2 logprobs for 1 completion",
        ),
        (json.dumps(GOOD).replace('"top_p": 1', '"top_p": 0.9'), "line 2: .*top_p: .*sampled with top_p 0.9"),
        (json.dumps(GOOD)[:-3], "line 2: .*[Jj][Ss][Oo][Nn]"),
    ],
    ids=["nan reward", "infinite logprob", "no logprobs", "too many logprobs", "top_p", "cut off"],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    write_raw_batch(tmp_path, 1, json.dumps(group("g0", [member("r0", None, [])])) + "\n" + line, 2, 3)
    with pytest.raises(DatasetError, match=rf"^batch-1/groups\.jsonl\.gz {problem}"):
        read_batch(tmp_path, 1)


def test_counts_and_names_must_hold(tmp_path: Path) -> None:
    write_raw_batch(tmp_path, 1, json.dumps(GOOD) + "\n", 1, 3)
    with pytest.raises(DatasetError, match="1 groups and 2 members, its manifest says 1 and 3"):
        read_batch(tmp_path, 1)
    write_batch(tmp_path, 2, [GOOD, {**GOOD, "group_id": "g2"}])
    with pytest.raises(DatasetError, match="line 2: rollout r1 appears twice"):
        read_batch(tmp_path, 2)
    write_batch(tmp_path, 3, []).rename(tmp_path / "batch-4")
    with pytest.raises(DatasetError, match="iteration 3 in the directory of 4"):
        read_batch(tmp_path, 4)


def test_without_its_manifest_a_batch_is_not_there(tmp_path: Path) -> None:
    assert read_batch(tmp_path, 1) is None
    directory = write_batch(tmp_path, 1, [GOOD])
    manifest = (directory / MANIFEST).read_bytes()
    (directory / MANIFEST).unlink()
    assert read_batch(tmp_path, 1) is None
    (directory / MANIFEST).write_bytes(manifest[: len(manifest) // 2])
    assert read_batch(tmp_path, 1) is None
    (directory / MANIFEST).write_bytes(manifest)
    assert read_batch(tmp_path, 1) is not None


def test_a_file_that_its_manifest_does_not_vouch_for_is_refused(tmp_path: Path) -> None:
    directory = write_batch(tmp_path, 1, [GOOD])
    (directory / GROUPS).write_bytes(gzip.compress(b"{}"))
    with pytest.raises(DatasetError, match=r"batch-1/groups\.jsonl\.gz does not match the digest"):
        read_batch(tmp_path, 1)


def test_what_the_model_cannot_take_is_named(tmp_path: Path) -> None:
    write_batch(tmp_path, 1, [GOOD])
    batch = read_batch(tmp_path, 1)
    assert batch is not None
    check_fits(batch, 5, 3)
    with pytest.raises(DatasetError, match="line 1: rollout r2 call 0 has token id 4, the base model has 4"):
        check_fits(batch, 4, 3)
    with pytest.raises(DatasetError, match="rollout r1 call 0 has 3 tokens, the base model takes 2"):
        check_fits(batch, 5, 2)
    check_fits(batch, 5, None)
