"""A plain script: what it prints is the answer, as it would be on your own machine.

    argosy deploy examples/script --name wordcount
    argosy invoke wordcount -m "to be or not to be"

The message is its standard input, and its first argument too: `python agent.py "to be"` also works.
"""

import sys
from collections import Counter

text = " ".join(sys.argv[1:]) or sys.stdin.read()
counts = Counter(text.lower().split())

if not counts:
    sys.exit("Send me some words to count.")

for word, count in counts.most_common():
    print(f"{count:>3}  {word}")
