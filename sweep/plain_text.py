"""Text of other people's on a terminal: in one line, and without what a terminal would obey."""


def one_line(text: str) -> str:
    """White space becomes single spaces, anything else that does not print its escape."""
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in words)
