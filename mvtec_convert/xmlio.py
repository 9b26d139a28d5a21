"""XML on disk, read without what makes it dangerous: no document types, so no entities; bounded depth and size."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from mvtec_convert.errors import ExportError
from mvtec_convert.jsonio import read_bytes

MOST_BYTES = 1 << 24
"""Of an XML file; the annotations of one image."""

DEEPEST = 16  # elements in each other


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        tag: its name.
        line: where it begins, 1-based.
        text: what stands in it, between and around its children.
        children: in the order of the file.
    """

    tag: str
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        """The children called so."""
        return [child for child in self.children if child.tag == tag]

    def value(self, lists: frozenset[str]) -> Any:
        """Text where it has no child, else values by tag; of tags in `lists` a list, of others the first."""
        if not self.children:
            return self.text.strip()
        found: dict[str, Any] = {tag: [] for tag in lists if self.all(tag)}
        for child in self.children:
            if child.tag in lists:
                found[child.tag].append(child.value(lists))
            else:
                found.setdefault(child.tag, child.value(lists))
        return found


def read_xml(path: Path) -> Element:
    """The document element of an XML file.

    Raises:
        ExportError: it cannot be read, is too large, is no XML, or declares a document type.
    """
    return parse_xml(read_bytes(path, MOST_BYTES), path)


def parse_xml(data: bytes, path: Path) -> Element:
    """The document element of `data`, which was read from `path`; see `read_xml`."""
    top = Element("", 0)
    open_elements = [top]
    parser = expat.ParserCreate()

    def start(tag: str, _: dict[str, str]) -> None:
        if len(open_elements) > DEEPEST:
            raise ExportError(f"more than {DEEPEST} elements in each other", path=path)
        element = Element(tag, parser.CurrentLineNumber)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def text(found: str) -> None:
        open_elements[-1].text += found

    def refuse(*_: object) -> None:
        raise ExportError("declares a document type, which is not read", path=path, hint="remove <!DOCTYPE ...>")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: open_elements.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        where = f"line {error.lineno}"
        raise ExportError(f"not XML: {expat.ErrorString(error.code)}, {where}", path=path) from None
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        raise ExportError(f"not XML: {error}", path=path) from None
    return top.children[0]
