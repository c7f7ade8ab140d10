"""Tables of text: as Markdown, and in the width of a terminal."""

import itertools
import textwrap

from support import cli


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns: the first to the left, the others to the right."""
    first, *others = (max(map(len, column)) for column in zip(head, *rows, strict=True))
    lines = [" | ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]) for row in (head, *rows)]
    rule = "|".join(["-" * (first + 2), *(f"{'-' * (width + 1)}:" for width in others)])
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


def terminal_table(head: list[str], rows: list[list[str]], least: tuple[str, ...] = ()) -> str:
    """A table for people: as Markdown where that fits the terminal, or goes to a file. In a narrower terminal it has no
    bars, and its cells are wrapped; the columns in `least` are left out, one by one, before a word would be broken."""
    table, gap = markdown_table(head, rows), 2
    room = cli.columns() + gap  # as the last column has one too
    if table.index("\n") + gap <= room:
        return table
    for count in range(len(least) + 1):
        columns = [column for column in zip(head, *rows, strict=True) if column[0] not in least[:count]]
        texts = [" ".join([name.replace("-", "- "), *cells]) for name, *cells in columns]
        words = [gap + max(map(len, text.split(" "))) for text in texts]
        if sum(words) <= room:
            break
    widths = [gap + max(map(len, column)) for column in columns]
    while sum(widths) > room and max(widths) > gap + 1:
        order = [(width > word, width) for width, word in zip(widths, words, strict=True)]
        widths[order.index(max(order))] -= 1  # of those that break no word, if there are any, the widest
    head, *rows = zip(*columns, strict=True)
    lines = []
    for row in (head, ["-" * (width - gap) for width in widths], *rows):
        cells = [textwrap.wrap(cell, width - gap) for cell, width in zip(row, widths, strict=True)]
        for first, *others in itertools.zip_longest(*cells, fillvalue=""):
            lines.append("".join([first.ljust(widths[0] - gap), *map(str.rjust, others, widths[1:])]))
    return "\n".join([*lines, *[f"no room for: {', '.join(least[:count])}"] * (count > 0)])
