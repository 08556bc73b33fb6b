"""ExactMatch: the answer is the reference, but for space around it."""


def score(answer: str, reference: str) -> float:
    """1 or 0."""
    return float(answer.strip() == reference.strip())
