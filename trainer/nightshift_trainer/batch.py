"""Reads one batch: manifest first, then every group line, strictly. No torch here.

The shape is the one of `schema/group-line.json`, which TypeScript generates; this reader adds what a schema cannot say
(lengths that must agree, ids that must be unique). Both sides are tested on the same fixtures.
"""

import gzip
import json
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from nightshift_trainer.config import Strict, Text, first_problem
from nightshift_trainer.errors import DatasetError
from nightshift_trainer.handover import MANIFEST, TornError, read_manifest, read_verified
from nightshift_trainer.types import Batch, Call, Group, Member

GROUPS = "groups.jsonl.gz"
LOGPROB_SLACK = 1e-3
"""A logprob of almost certain tokens may round to just above 0."""

TokenId = Annotated[int, Field(ge=0, le=2**53 - 1)]


class _Sampling(Strict):
    temperature: Annotated[float, Field(gt=0)]
    top_p: float
    top_k: int
    min_p: float

    @field_validator("top_p")
    @classmethod
    def _whole_distribution(cls, value: float) -> float:
        _require(value == 1, f"sampled with top_p {value}: only top_p 1 is the policy's own distribution")
        return value

    @field_validator("top_k")
    @classmethod
    def _no_top_k(cls, value: int) -> int:
        _require(value in (0, -1), f"sampled with top_k {value}: only top_k off (0 or -1) is eligible")
        return value

    @field_validator("min_p")
    @classmethod
    def _no_min_p(cls, value: float) -> float:
        _require(value == 0, f"sampled with min_p {value}: only min_p 0 is eligible")
        return value


class _Call(Strict):
    prompt_token_ids: Annotated[list[TokenId], Field(min_length=1)]
    completion_token_ids: Annotated[list[TokenId], Field(min_length=1)]
    logprobs: Annotated[list[Annotated[float, Field(le=LOGPROB_SLACK)]], Field(min_length=1)]
    finish_reason: Text
    adapter_digest: Text
    sampling: _Sampling

    @model_validator(mode="after")
    def _one_logprob_per_token(self) -> "_Call":
        ids, logprobs = len(self.completion_token_ids), len(self.logprobs)
        _require(ids == logprobs, f"{logprobs} logprobs for {ids} completion tokens")
        return self


class _Member(Strict):
    rollout_id: Text
    reward: float | None = None
    masked: bool = False
    excluded_from_loss: bool = False
    staleness: Annotated[int, Field(ge=0)]
    calls: list[_Call]

    @field_validator("reward")
    @classmethod
    def _never_null(cls, value: float | None) -> float | None:
        _require(value is not None, "leave reward out when the member is masked")
        return value

    @model_validator(mode="after")
    def _reward_unless_masked(self) -> "_Member":
        _require(self.masked == (self.reward is None), "exactly the masked members have no reward")
        spared = self.masked or self.excluded_from_loss
        _require(spared or bool(self.calls), "a member in the loss needs calls")
        return self


class _GroupLine(Strict):
    group_id: Text
    scenario_id: Text
    weight: Annotated[float, Field(ge=0)]
    members: Annotated[list[_Member], Field(min_length=1)]


class _File(Strict):
    sha256: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class _Manifest(Strict):
    version: Literal[1]
    iteration: Annotated[int, Field(ge=1)]
    groups: Annotated[int, Field(ge=0)]
    members: Annotated[int, Field(ge=0)]
    files: dict[str, _File]


def read_batch(run_directory: Path, iteration: int) -> Batch | None:
    """Batch `iteration`, or None when it is not there yet: no manifest, or one that is still being copied (not JSON).

    Raises DatasetError with file, line and reason for whatever a whole manifest promised and the files do not keep.
    """
    directory = run_directory / f"batch-{iteration}"
    try:
        raw = read_manifest(directory)
    except TornError:
        return None
    if raw is None:
        return None
    manifest = parse_manifest(raw, f"{directory.name}/{MANIFEST}")
    if manifest.iteration != iteration:
        raise DatasetError(
            f"{directory.name}/{MANIFEST}: iteration {manifest.iteration} in the directory of {iteration}"
        )
    if GROUPS not in manifest.files:
        raise DatasetError(f"{directory.name}/{MANIFEST}: files lists no {GROUPS}")
    source = f"{directory.name}/{GROUPS}"
    try:
        text = gzip.decompress(read_verified(directory, GROUPS, manifest.files[GROUPS].model_dump()))
    except TornError as error:
        raise DatasetError(str(error)) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{source} is not gzip: {error}") from error
    groups = tuple(
        parse_group(line, source, number) for number, line in enumerate(text.splitlines(), 1) if line
    )
    _check_whole(groups, manifest, source)
    return Batch(iteration, source, groups)


def parse_manifest(raw: Any, source: str) -> _Manifest:
    """Raises DatasetError."""
    try:
        return _Manifest.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise DatasetError(f"{source}: {first_problem(error)}") from error


def parse_group(line: bytes, source: str, number: int) -> Group:
    """One line of groups.jsonl. Raises DatasetError naming file and line."""
    try:
        group = _GroupLine.model_validate_json(line)
    except ValidationError as error:
        raise DatasetError(f"{source} line {number}: {first_problem(error)}") from error
    return Group(group.group_id, group.scenario_id, group.weight, tuple(map(_member, group.members)), number)


def check_fits(batch: Batch, vocabulary_size: int, max_positions: int | None) -> None:
    """Raises DatasetError for the first call with a token id that the model does not have, or longer than it takes."""
    for group in batch.groups:
        for member in group.members:
            for number, call in enumerate(member.calls):
                where = f"{batch.source} line {group.line}: rollout {member.rollout_id} call {number}"
                largest = max(*call.prompt_token_ids, *call.completion_token_ids)
                if largest >= vocabulary_size:
                    raise DatasetError(
                        f"{where} has token id {largest}, the base model has {vocabulary_size} (another tokenizer?)"
                    )
                length = len(call.prompt_token_ids) + len(call.completion_token_ids)
                if max_positions is not None and length > max_positions:
                    raise DatasetError(
                        f"{where} has {length} tokens, the base model takes {max_positions} (max_position_embeddings)"
                    )


def _check_whole(groups: tuple[Group, ...], manifest: _Manifest, source: str) -> None:
    members = sum(len(group.members) for group in groups)
    if (len(groups), members) != (manifest.groups, manifest.members):
        raise DatasetError(
            f"{source} has {len(groups)} groups and {members} members, "
            f"its manifest says {manifest.groups} and {manifest.members}"
        )
    seen: set[str] = set()
    for group in groups:
        for name in [
            f"group {group.group_id}",
            *(f"rollout {member.rollout_id}" for member in group.members),
        ]:
            if name in seen:
                raise DatasetError(f"{source} line {group.line}: {name} appears twice")
            seen.add(name)


def _member(member: _Member) -> Member:
    calls = tuple(
        Call(
            tuple(call.prompt_token_ids),
            tuple(call.completion_token_ids),
            tuple(call.logprobs),
            call.finish_reason,
            call.adapter_digest,
            call.sampling.temperature,
        )
        for call in member.calls
    )
    return Member(member.rollout_id, member.reward, member.excluded_from_loss, member.staleness, calls)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
