"""Names and texts as SQL reads them, whatever is in them.

Keeps out: what is asked; each room writes its own queries
"""


def quoted(name: str) -> str:
    """Return an identifier as SQL wants it written."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    """Return a SQL text literal."""
    return "'" + value.replace("'", "''") + "'"
