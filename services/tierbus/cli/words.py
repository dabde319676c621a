"""Texts of tasks and models as a line has room for them. Pure."""


def short(text: str, size: int) -> str:
    """A text on one line, at most so many characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= size else f"{flat[: size - 1]}…"
