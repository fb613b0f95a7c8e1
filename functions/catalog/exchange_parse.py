"""Parses XML within limits: whatever a file holds, reading it takes memory and time in proportion to its size at most.

expat is fed in small slices. Between two of them the caller's `watch` runs (it may stop the reading), and a tag or
comment that is still open after `MAX_MARKUP_BYTES` ends it: expat looks at such a piece again with every slice, and
expands a namespace into every attribute. Only nodes and attributes that the format knows are kept, and of their text
what tells that it is too much; everything else is counted.
"""

import codecs
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Final, NoReturn
from xml.etree.ElementTree import Element, SubElement
from xml.parsers.expat import ExpatError, ParserCreate

from functions.catalog.exchange import NAMESPACE, XSI_TYPE, ExchangeError, ExchangeTooLarge

NS: Final = f"{NAMESPACE}}}"
LANG: Final = "http://www.w3.org/XML/1998/namespace}lang"
SLICE_BYTES: Final = 2 * 1024
MAX_MARKUP_BYTES: Final = 32 * 1024
MAX_NESTING: Final = 64
MAX_NODES: Final = 1_000_000  # 100,000 items with three properties, name and documentation each
MAX_NODES_IN_ONE: Final = 5_000
MAX_NODES_OF_VIEW: Final = 50_000
MAX_FOLDERS: Final = 250_000  # nodes of one organization: 100,000 items in folders, with their labels
MAX_TEXT: Final = 20_000
MAX_NAMES: Final = 1_000
MAX_NAMESPACE: Final = 500
MAX_IDENTIFIER: Final = 255
MAX_LANGUAGE: Final = 50
MAX_ATTRIBUTE: Final = 4_000
MAX_ATTRIBUTES: Final = 100
MAX_EXPANDED: Final = 64 * 1024
MAX_TEXT_IN_ONE: Final = 300_000  # more than `MAX_FIELDS_BYTES`, so that whoever keeps items sees that it is too much
MAX_CHARACTERS: Final = 6_000_000
REFERENCES: Final = (
    *("identifier", "source", "target", "propertyDefinitionRef", "identifierRef"),
    *("elementRef", "relationshipRef", "conceptRef", "viewpointRef", "ref"),
)


@dataclass(frozen=True)
class Format:
    """What of a format is kept: nodes (`tags`; those in `raw` with whatever is in them), texts of nodes, attributes.

    `anywhere`: the nodes that are yielded whole at whatever depth of a section that says 0; `shells`: those yielded as
    they open, without what is in them. `depths`: whether a node's depth is told, as an attribute of that name.
    `most_in`: how many nodes one of them may hold, `max_of` how long an attribute may be, where that is not the usual.
    """

    tags: Set[str]
    texts: Set[str]
    attributes: Set[str]
    anywhere: Set[str]
    raw: Set[str] = frozenset()
    shells: Set[str] = frozenset()
    depths: bool = False
    most_in: Mapping[str, int] = field(default_factory=dict)
    max_of: Mapping[str, int] = field(default_factory=dict)


def _in_namespace(names: str) -> frozenset[str]:
    return frozenset(f"{NS}{name}" for name in names.split())


EXCHANGE: Final = Format(
    tags=_in_namespace(
        "name documentation value label metadata viewpoints view element relationship propertyDefinition properties "
        "property organizations item node connection style fillColor lineColor font color viewRef bendpoint "
        "sourceAttachment targetAttachment"
    ),
    texts=_in_namespace("name documentation value label"),
    attributes=frozenset(
        (*REFERENCES, "accessType", "modifier", "isDirected", "version", "type", "xpathPart", "viewpoint", "name",
         "size", "style", "lineWidth", *"xywhrgba", XSI_TYPE, LANG)
    ),
    anywhere=_in_namespace("view viewpoints"),
    raw=_in_namespace("metadata viewpoints"),
    most_in={f"{NS}view": MAX_NODES_OF_VIEW, f"{NS}organizations": MAX_FOLDERS},
    max_of={LANG: MAX_LANGUAGE, **dict.fromkeys(REFERENCES, MAX_IDENTIFIER)},
)  # fmt: skip
_DECLARED: Final = rb"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']"""
_SINGLE_BYTE: Final = re.compile(r"iso8859-\d{1,2}|cp125\d")
HOW_TO_EXPORT: Final = "Export the model with File > Export > Model to Open Exchange File, and send that."


def nodes(
    body: bytes, sections: Mapping[str, int], watch: Callable[[], None], format: Format = EXCHANGE
) -> Iterator[tuple[int, Element]]:
    """The root as it opens, then each node as deep in its section as `sections` says, once whole; with its line.

    Depth 1 is the section itself; 0 is for one whose nodes are yielded at whatever depth. Tags are
    `namespace}name`. Raises `ExchangeError` with its line, `ExchangeTooLarge` where a limit is passed.
    """
    if body.startswith((b"PK", b"\x1f\x8b")):
        raise ExchangeError(f"This is a compressed file, perhaps Archi's own format with images. {HOW_TO_EXPORT}")
    parser = _Parser(sections, format)
    try:
        for piece in _slices(body):
            watch()
            parser.feed(piece)
            yield from parser.whole()
        parser.close()
        yield from parser.whole()
    except ExpatError as error:
        what = str(error).partition(": line")[0]
        raise ExchangeError(
            f"This is not well-formed XML ({what}); mend it there.", error.lineno, error.offset + 1
        ) from error
    except (LookupError, UnicodeError) as error:
        raise ExchangeError(f"The encoding cannot be read ({error}); save the file as UTF-8.", 1) from error


def _slices(body: bytes) -> Iterator[bytes]:
    """The file as UTF-8, piece by piece; of other encodings those that tools for ArchiMate write."""
    decoder = _decoder(body)
    for start in range(0, len(body), SLICE_BYTES):
        piece = body[start : start + SLICE_BYTES]
        yield decoder.decode(piece).encode() if decoder else piece
    if decoder:
        yield decoder.decode(b"", final=True).encode()


def _decoder(body: bytes) -> codecs.IncrementalDecoder | None:
    """None for UTF-8, which expat reads itself; `LookupError` for an encoding that is not taken."""
    if body.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise LookupError("utf-32 is not taken")
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return codecs.getincrementaldecoder("utf-16")()
    if wide := {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(body[:2]):
        return codecs.getincrementaldecoder(wide)()
    declared = re.match(_DECLARED, body.removeprefix(codecs.BOM_UTF8))
    name = codecs.lookup(declared[1].decode()).name if declared else "utf-8"
    if name in ("utf-8", "ascii"):
        return None
    if not _SINGLE_BYTE.fullmatch(name):
        raise LookupError(f"{name} is not taken")
    return codecs.getincrementaldecoder(name)()


class _Parser:
    """expat, with nodes made of what is asked for and everything counted on the way."""

    def __init__(self, sections: Mapping[str, int], format: Format) -> None:
        self._sections = sections
        self._format = format
        self._expat = expat = ParserCreate("utf-8", "}", intern=None)  # interning would keep every name
        expat.buffer_text = True
        expat.StartElementHandler = self._start
        expat.EndElementHandler = self._end
        expat.CharacterDataHandler = self._text
        expat.StartDoctypeDeclHandler = self._doctype
        expat.StartNamespaceDeclHandler = self._namespace
        self._fed = self._depth = self._whole_at = self._count = self._inside = self._foreign = 0
        self._most, self._raw = MAX_NODES_IN_ONE, False
        self._names: set[int] = set()
        self._open: list[Element] = []
        self._texts: list[str] = []
        self._length = self._length_inside = self._characters = 0
        self._found: list[tuple[int, Element]] = []
        self._line = 0

    def feed(self, piece: bytes) -> None:
        self._fed += len(piece)
        self._expat.Parse(piece, False)
        if self._fed - self._expat.CurrentByteIndex > MAX_MARKUP_BYTES:
            self._refuse(f"a tag, comment or instruction may have at most {MAX_MARKUP_BYTES} bytes")

    def close(self) -> None:
        self._expat.Parse(b"", True)

    def whole(self) -> list[tuple[int, Element]]:
        """What has become whole since it was asked for last."""
        found, self._found = self._found, []
        return found

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._check(tag, attributes)
        depth, self._depth = self._depth, self._depth + 1
        if self._open:
            self._inside += 1
            if self._inside > self._most:
                what = self._open[0].tag.rpartition("}")[2]
                self._refuse(f"one {what} may hold at most {self._most} nodes")
            if not self._raw and (self._foreign or tag not in self._format.tags):
                self._foreign += 1  # with all that is in it; its text is that of what it stands in
                return
            self._keep_text()
            self._open.append(SubElement(self._open[-1], tag, attributes if self._raw else self._known(attributes)))
            return
        if depth == 0:
            self._found.append((self._expat.CurrentLineNumber, Element(tag, self._known(attributes))))
            return
        if depth == 1:
            self._whole_at = self._sections.get(tag, -1)
        if self._whole_at == 0 and tag in self._format.shells:
            shell = Element(tag, self._known(attributes) | {"depth": str(depth)})
            self._found.append((self._expat.CurrentLineNumber, shell))
        elif tag in (self._format.anywhere if self._whole_at == 0 else self._format.tags) and self._whole_at in (
            0,
            depth,
        ):
            self._raw, self._most = tag in self._format.raw, self._format.most_in.get(tag, MAX_NODES_IN_ONE)
            told = {"depth": str(depth)} if self._format.depths else {}
            self._open.append(Element(tag, self._known(attributes) | told))
            self._inside = self._length_inside = 0
            self._line = self._expat.CurrentLineNumber

    def _wanted(self) -> Set[str]:
        return self._format.anywhere if self._whole_at == 0 else self._format.tags

    def _known(self, attributes: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in attributes.items() if name in self._format.attributes}

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if self._foreign:
            self._foreign -= 1
        elif self._open:
            self._keep_text()
            node = self._open.pop()
            if not self._open:
                self._found.append((self._line, node))

    def _text(self, text: str) -> None:
        if not self._open or not (self._raw or self._open[-1].tag in self._format.texts):
            return
        room = min(MAX_TEXT + 1 - self._length, MAX_TEXT_IN_ONE - self._length_inside)
        if kept := text[: max(0, room)]:
            self._texts.append(kept)
            self._length += len(kept)
            self._length_inside += len(kept)
            self._characters += len(kept)
            if self._characters > MAX_CHARACTERS:
                self._refuse(f"it holds more than {MAX_CHARACTERS:,} characters of text; divide the model")

    def _keep_text(self) -> None:
        """What stands between two tags, where `itertext` finds it; of too much, enough is kept to see that it is."""
        if self._texts:
            text = "".join(self._texts)
            node = self._open[-1]
            if len(node):
                node[-1].tail = text
            else:
                node.text = text
            self._texts, self._length = [], 0

    def _check(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            self._refuse(f"a file may have at most {MAX_NODES} nodes")
        if self._depth >= MAX_NESTING:
            self._refuse(f"nodes may be nested {MAX_NESTING} deep at most")
        self._names.add(hash(tag))
        if len(attributes) > MAX_ATTRIBUTES:
            self._refuse(f"a tag may have at most {MAX_ATTRIBUTES} attributes")
        expanded = len(tag)
        for name, value in attributes.items():
            self._names.add(hash(name))
            expanded += len(name) + len(value)
            most = self._format.max_of.get(name, MAX_ATTRIBUTE)
            if len(value) > most:
                self._refuse(f"{name.rpartition('}')[2]:.50} has {len(value)} characters; it may have at most {most}")
        if expanded > MAX_EXPANDED:
            self._refuse(f"a tag may have at most {MAX_EXPANDED} characters, namespaces counted with each name")
        if len(self._names) > MAX_NAMES:
            self._refuse(f"nodes and attributes may have at most {MAX_NAMES} different names")

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        if len(uri or "") > MAX_NAMESPACE:
            self._refuse(f"a namespace may have at most {MAX_NAMESPACE} characters")

    def _doctype(self, *_: object) -> NoReturn:
        raise ExchangeError(
            "The file declares a document type (<!DOCTYPE …>) or entities, which is refused for safety; "
            "remove the declaration and write the entities out.",
            self._expat.CurrentLineNumber,
        )

    def _refuse(self, why: str) -> NoReturn:
        raise ExchangeTooLarge(f"The file cannot be taken: {why}.", self._expat.CurrentLineNumber)
