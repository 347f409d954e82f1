"""Examples: members that the judge holds for good, learned as they were sampled (rejection sampling). No torch here.

A policy's own samples teach nothing on average until some are left out: the mean of ∇logπ over them is zero. So only
groups whose members differ have examples, and only members above their group's mean are ones.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from nightshift_trainer.types import ROUNDING, Learning, LearningGroup


def choose_examples(
    learning: Learning, rewards: Mapping[str, float], min_reward: float, members_per_group: int
) -> Learning:
    """The best members of each kept group, at most `members_per_group`: above the group's mean reward, and of at least
    `min_reward`. Equal ones in the order of the batch. `rewards` are by rollout id.

    Each becomes an example of weight 1 (its advantage). Groups without one are dropped as no_good_member.
    """
    kept: list[LearningGroup] = []
    dropped = Counter(learning.dropped)
    for group in learning.groups:
        good = [m for m in group.members if m.advantage > ROUNDING and rewards[m.rollout_id] >= min_reward]
        best = sorted(good, key=lambda m: -rewards[m.rollout_id])[:members_per_group]
        if best:
            kept.append(replace(group, members=tuple(replace(m, advantage=1.0) for m in best)))
        else:
            dropped["no_good_member"] += 1
    return replace(learning, groups=tuple(kept), dropped=dict(sorted(dropped.items())))
