"""Says what it was told, word by word, and keeps a copy.

    argosy deploy examples/echo
    argosy invoke echo -m "hello there" --follow
"""

import time
from pathlib import Path

from argosy import agent


def handler(request):
    message = request["message"]
    words = message.split()

    for number, word in enumerate(words):
        # Each piece is seen at once by whoever follows the run.
        agent.say(word if number == 0 else f" {word}")
        time.sleep(0.05)

    # What is left in the working directory becomes the run's files.
    Path("echo.txt").write_text(message + "\n")
    agent.file_edit("echo.txt")

    # The answer is what was said; the other keys are kept beside it.
    return {"response": " ".join(words), "words": len(words)}


if __name__ == "__main__":  # never runs on Argosy, for there is a handler to call
    handler({"message": agent.message})
