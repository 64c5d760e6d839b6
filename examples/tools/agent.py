"""Thinks aloud, calls its own tools and streams what it finds: what a model's loop would look like.

    argosy deploy examples/tools --name almanac
    argosy invoke almanac -m "Lisbon and Oslo" --follow
"""

import asyncio
import json
from pathlib import Path

from argosy import agent

# Files of the source are read by relative name: a run starts in a copy of this folder.
CITIES = json.loads(Path("cities.json").read_text())


@agent.tool
async def look_up(city):
    """Each call of a function marked as a tool is in the run's transcript, and what it returns."""
    await asyncio.sleep(0.1)
    return CITIES[city]


async def handler(message: str):
    """An async generator: what it yields is streamed, and is the answer."""
    wanted = [city for city in CITIES if city.lower() in message.lower()]
    agent.think(f"The message names {len(wanted)} of the {len(CITIES)} cities I know.")

    if not wanted:
        yield f"I know {', '.join(CITIES)}. Ask me about one of them."
        return

    for found in asyncio.as_completed([look_up(city) for city in wanted]):
        facts = await found
        yield f"{facts['name']} is in {facts['country']}, at {abs(facts['latitude'])}° {'north' if facts['latitude'] >= 0 else 'south'}.\n"

    agent.usage(input_tokens=len(message.split()), output_tokens=12 * len(wanted), model="almanac")
