"""A page of sections, complete in one HTML file: each says what was found, and shows it."""

import json
import re
from html import escape
from pathlib import Path
from typing import NamedTuple

__all__ = ["Section", "page", "power", "write"]


class Section(NamedTuple):
    """A part of a page."""

    title: str  # in the symbols of the figures' axes
    finding: str  # the one conclusion
    text: str  # how to read the figures
    figures: tuple[tuple[str, str], ...] = ()  # (caption, data URI)
    table: tuple[tuple[str, ...], ...] = ()  # rows of cells, the head first
    quotes: tuple[tuple[str, str], ...] = ()  # (caption, text as it is)


def page(title: str, lead: str, sections: list[Section]) -> str:
    """Return a complete HTML page; every text is escaped, every figure is inside.

    >>> "<h2>h<sub>t</sub> &lt; 1</h2>" in page("A", "b", [Section("h_t < 1", "c", "d")])
    True
    """
    body = "\n".join(map(_section, sections))
    return _PAGE.format(title=_text(title), lead=_text(lead), body=body)


def _section(section: Section) -> str:
    figures = "".join(
        f'<figure><figcaption>{_text(caption)}</figcaption><img src="{uri}" '
        f'alt="{escape(f"{section.title}: {caption}")}"></figure>'
        for caption, uri in section.figures
    )
    quotes = "".join(
        f"<figure><figcaption>{_text(caption)}</figcaption><pre>{escape(text)}</pre></figure>"
        for caption, text in section.quotes
    )
    rows = "".join(
        f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in row)}</tr>"
        for tag, row in zip(("th", *["td"] * len(section.table)), section.table, strict=False)
    )
    table = f"<table>{rows}</table>" if rows else ""
    return (
        f'<section><h2>{_text(section.title)}</h2><p class="finding">{_text(section.finding)}</p>'
        f'<p>{_text(section.text)}</p>{table}<div class="figures">{figures}</div>{quotes}</section>'
    )


def _text(text: str) -> str:
    """Escape a text; a symbol's index, as in h_t or c_{t-1}, is set below the line."""
    return re.sub(r"(\b[^\W\d_]|[|‖])_(?:(\w)\b|\{(.+?)\})", r"\1<sub>\2\3</sub>", escape(text))


def power(log: float) -> str:
    """Return e^log as a reader takes it, also where no float could hold it.

    >>> power(0.7), power(-2000.0), power(-float("inf"))
    ('2', '2.6·10⁻⁸⁶⁹', '0')
    """
    decimal = log / 2.302585092994046
    if abs(decimal) < 3 or decimal in (float("inf"), -float("inf")) or decimal != decimal:
        return f"{10**decimal:.2g}"
    exponent = int(decimal // 1)
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{10 ** (decimal - exponent):.2g}·10{raised}"


def write(out: Path, page: str, answer: dict) -> Path:
    """Write a page as report.html beside its numbers, report.json; return where the page is.

    Raises:
        ValueError: a number is not finite, which JSON has no word for.
    """
    numbers = json.dumps(answer, indent=1, allow_nan=False)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(numbers, "utf-8")
    (out / "report.html").write_text(page, "utf-8")
    return (out / "report.html").resolve()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 74rem;
  margin: 2rem auto; padding: 0 1rem; }}
h1, h2 {{ line-height: 1.2; }} h2 {{ margin-top: 2.5rem; }} p {{ max-width: 46rem; }}
.finding {{ font-weight: 600; }} sub {{ font-size: 0.7em; line-height: 0; }}
.figures {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }}
figure {{ margin: 0; }} figcaption {{ font-weight: 600; }} img {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; }} td, th {{ padding: 0.2rem 1.2rem 0.2rem 0; text-align: right;
  border-bottom: 1px solid #ddd; }} td:first-child, th:first-child {{ text-align: left; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: 1rem;
  font-size: 0.9rem; }}
</style></head>
<body><h1>{title}</h1><p>{lead}</p>
{body}
</body></html>
"""
