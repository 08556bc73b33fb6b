"""Top1: the answer names the label, whatever its case, spaces and closing punctuation."""


def label(text: str) -> str:
    """A label as it is compared."""
    return " ".join(text.casefold().split()).rstrip(".!,;:")


def score(answer: str, reference: str) -> float:
    """1 or 0."""
    return float(label(answer) == label(reference))
