"""Has ART score groups with its RULER, one after the other: `ask_art.py GROUPS.json BASE_URL`."""

import asyncio
import json
import sys

import art
from art.rewards import ruler_score_group


async def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        groups = json.load(file)
    judge = {"api_base": sys.argv[2], "api_key": "none"}
    for group in groups:
        trajectories = [
            art.Trajectory(messages_and_choices=messages, tools=group["tools"], reward=0.0)
            for messages in group["members"]
        ]
        await ruler_score_group(art.TrajectoryGroup(trajectories), "openai/judge", extra_litellm_params=judge)


asyncio.run(main())
