"""Reading a page of metrics as Prometheus does."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from adapters.metrics import page

type Numbers = Mapping[tuple[str, ...], float]
"""By name and the values of its labels, in the order of the labels' names."""


def numbers(text: str) -> Numbers:
    """Return every sample; fails for a page that cannot be read, or says something twice."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, *(sample.labels[name] for name in sorted(sample.labels)))
            assert key not in found, key
            found[key] = sample.value
    return found


def here() -> Numbers:
    """Return what this process has counted."""
    return numbers(page().decode())


def grown(before: Numbers, after: Numbers) -> Numbers:
    """Return by how much each number grew, those that did not left out: a process counts on."""
    differences = {key: value - before.get(key, 0.0) for key, value in after.items()}
    return {key: value for key, value in differences.items() if value}
