"""Exchange files that were made to hurt: each takes much more to read, keep or refuse than to send."""

import gzip
from collections.abc import Callable

from functions.catalog.exchange import NAMESPACE

MEGABYTE = 1024 * 1024
XSI = "http://www.w3.org/2001/XMLSchema-instance"
VALUE = '<property propertyDefinitionRef="p"><value>v</value></property>'


def model(content: str, attributes: str = "") -> str:
    return f'<model xmlns="{NAMESPACE}" xmlns:xsi="{XSI}" identifier="m" {attributes}><name>M</name>{content}</model>'


def elements(content: str) -> str:
    return model(f"<elements>{content}</elements>")


def many(one: str, megabytes: float) -> str:
    """As many of it as make so much, `#` being a number."""
    numbers = range(int(megabytes * MEGABYTE / (len(one) + 4)))
    return "".join(one.replace("#", str(number)) for number in numbers)


def in_one(content: str) -> str:
    return elements(f'<element identifier="a" xsi:type="Node"><name>A</name>{content}</element>')


def definition(name: str, identifier: str = "p") -> str:
    return f'<propertyDefinition identifier="{identifier}" type="string"><name>{name}</name></propertyDefinition>'


def definitions(content: str) -> str:
    return f"<propertyDefinitions>{content}</propertyDefinitions>"


def declared(encoding: str, content: str = "") -> bytes:
    return f'<?xml version="1.0" encoding="{encoding}"?>{elements(content)}'.encode()


def document_type(inside: str, content: str = "&z;") -> bytes:
    return f"<!DOCTYPE model [{inside}]>{in_one(f'<documentation>{content}</documentation>')}".encode()


def laughs() -> str:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!ENTITY e0 "ha">{levels}<!ENTITY z "&e9;">'


def arrows(end: Callable[[int], str], much: int) -> str:
    one = '<relationship identifier="r{}" xsi:type="Association" source="a" target="{}"/>'
    lines = "".join(one.format(number, end(number)) for number in range(much))
    node = '<element identifier="a" xsi:type="Node"><name>A</name></element>'
    return model(f"<elements>{node}</elements><relationships>{lines}</relationships>")


NODE = '<element identifier="e#" xsi:type="Node"><name>n</name></element>'
WITH_VALUE = f'<element identifier="e#" xsi:type="Node"><name>n</name><properties>{VALUE}</properties></element>'
LONG = "x" * MEGABYTE
VIEW = '<view identifier="#"/>'
PREFIXED = "".join(f'n:a{number}="" ' for number in range(1500))
EXPANDING = "".join(f'n:a{number:x}="" ' for number in range(900))
SMALLER = "".join(f'n:a{number:x}="" ' for number in range(100))
TEXT = '<element identifier="e#" xsi:type="Node"><name>n</name><documentation>{}</documentation></element>'

FILES: dict[str, Callable[[], str | bytes]] = {
    "a property's long name at every element": lambda: model(
        f"<elements>{many(WITH_VALUE, 1.3)}</elements>{definitions(definition(LONG))}"
    ),
    "a key of 255 characters at every property": lambda: model(
        f"<elements>{many(WITH_VALUE, 30)}</elements>{definitions(definition('k' * 255))}"
    ),
    "a long language for the whole model": lambda: model(
        f"<elements>{many(NODE, 1.5)}</elements>", f'xml:lang="{LONG}"'
    ),
    "a language of 8 KB for the whole model": lambda: model(
        f"<elements>{many(NODE, 2.5)}</elements>", f'xml:lang="{LONG[:8000]}"'
    ),
    "a long language of a name": lambda: in_one(f'<name xml:lang="{LONG}">x</name>'),
    "an identifier of 30 MB": lambda: elements(f'<element identifier="{LONG * 30}" xsi:type="Node"/>'),
    "identifiers of 30 KB": lambda: elements(many(f'<element identifier="#{LONG[:30000]}" xsi:type="Node"/>', 20)),
    "identifiers that are no names": lambda: elements(
        many(f'<element identifier="#{"~" * 200}" xsi:type="Node"/>', 20)
    ),
    "an attribute of line feeds": lambda: elements(f'<element identifier="a" xsi:type="{"&#10;" * MEGABYTE}"/>'),
    "billion laughs": lambda: document_type(laughs()),
    "one large entity many times": lambda: document_type(f'<!ENTITY z "{LONG}">', "&z;" * 100_000),
    "an external entity": lambda: document_type('<!ENTITY z SYSTEM "file:///dev/zero">'),
    "an external document type": lambda: f'<!DOCTYPE model SYSTEM "http://127.0.0.1:9/a.dtd">{elements("")}',
    "a parameter entity": lambda: document_type('<!ENTITY % p SYSTEM "file:///etc/passwd">%p;', ""),
    "defaults for attributes": lambda: document_type(f'<!ATTLIST element documentation CDATA "{LONG}">', ""),
    "a million nodes deep": lambda: elements("<a>" * MEGABYTE),
    "a million empty elements": lambda: elements(many('<element identifier="#" xsi:type="Node"/>', 31)),
    "millions of foreign nodes": lambda: elements("<a/>" * (7 * MEGABYTE)),
    "millions of nodes in one element": lambda: in_one("<a/>" * (7 * MEGABYTE)),
    "millions of properties in one element": lambda: in_one(
        f"<properties>{'<property/>' * (2 * MEGABYTE)}</properties>"
    ),
    "a property of many values": lambda: in_one(
        f'<properties><property propertyDefinitionRef="p">{"<value/>" * (3 * MEGABYTE)}</property></properties>'
    ),
    "a name in a million languages": lambda: in_one(many('<name xml:lang="l#">x</name>', 20)),
    "a million attributes": lambda: elements(f"<element {many('a#=' + repr('') + ' ', 20)}/>"),
    "a million names of nodes": lambda: elements(many("<a#/>", 20)),
    "a million names of attributes": lambda: elements(many('<a a#=""/>', 20)),
    "a namespace of 1 MB": lambda: elements(f'<a xmlns="{LONG}">{"<b/>" * 200_000}</a>'),
    "a namespace of 15 KB in every attribute": lambda: elements(many(f'<a xmlns:n="{LONG[:15000]}" {PREFIXED}/>', 20)),
    "a long namespace in hundreds of attributes": lambda: in_one(
        f'<g xmlns:n="{LONG[:490]}">{f"<a {EXPANDING}/>" * 1000}</g>'
    ),
    "a long namespace in as many attributes as may be": lambda: in_one(
        f'<g xmlns:n="{LONG[:490]}">{f"<a {SMALLER}/>" * 4900}</g>'
    ),
    "foreign attributes of four bytes a character": lambda: in_one(f'<a x="😀{LONG[:3990]}"/>' * 4900),
    "a property of many long values": lambda: in_one(
        f'<properties><property propertyDefinitionRef="p">{f"<value>😀{LONG[:19900]}</value>" * 1500}'
        "</property></properties>"
    ),
    "a text in many languages": lambda: in_one(
        "".join(f'<documentation xml:lang="l{n}">😀{LONG[:19900]}</documentation>' for n in range(1500))
    ),
    "a million prefixes": lambda: elements(f"<a {many('xmlns:a#=' + repr('u') + ' ', 20)}/>"),
    "a comment of 30 MB": lambda: elements(f"<!--{LONG * 30}-->"),
    "an instruction of 30 MB": lambda: elements(f"<?a {LONG * 30}?>"),
    "a section of 30 MB": lambda: in_one(f"<documentation><![CDATA[{LONG * 30}]]></documentation>"),
    "a documentation of 30 MB": lambda: in_one(f"<documentation>{LONG * 30}</documentation>"),
    "many long texts that take four bytes a character": lambda: elements(many(TEXT.format("😀" + "x" * 19_000), 30)),
    "character references": lambda: in_one(f"<documentation>{'&#128512;' * (3 * MEGABYTE)}</documentation>"),
    "space": lambda: elements(" " * (31 * MEGABYTE)),
    "a tag without an end": lambda: f'<model xmlns="{NAMESPACE}" identifier="{LONG * 31}',
    "a comment without an end": lambda: f"<!--{LONG * 31}",
    "a million property definitions": lambda: model(definitions(many(definition("n", "p#"), 30))),
    "definitions of one name": lambda: model(definitions(many(definition("n" * 250, "p#"), 2))),
    "a million names of the model": lambda: model("<name>x</name>" * (2 * MEGABYTE)),
    "a million nodes in a view": lambda: model(
        f'<views><diagrams><view identifier="v">{"<node/>" * (3 * MEGABYTE)}</view></diagrams></views>'
    ),
    "a million views": lambda: model(f"<views><diagrams>{many(VIEW, 30)}</diagrams></views>"),
    "one identifier a million times": lambda: elements('<element identifier="a" xsi:type="Node"/>' * 700_000),
    "wrong types": lambda: elements(many('<element identifier="#" xsi:type="Widget"/>', 20)),
    "relationships, each at the one before": lambda: arrows(lambda n: f"r{n - 1}" if n else "a", 90_000),
    "relationships, each at the one after": lambda: arrows(lambda n: f"r{n + 1}", 90_000),
    "relationships that end nowhere": lambda: arrows(lambda n: f"nowhere{n}", 90_000),
    "NUL bytes": lambda: b"\0" * (31 * MEGABYTE),
    "UTF-16 with half a character": lambda: elements("?").encode("utf-16").replace(b"?\0", b"\0\xd8"),
    "UTF-16 of 30 MB": lambda: elements(many(NODE, 14)).encode("utf-16"),
    "UTF-7": lambda: declared("utf-7", "+ADw-!DOCTYPE x+AD4-"),
    "UTF-32": lambda: elements(many(NODE, 1)).encode("utf-32"),
    "EBCDIC": lambda: declared("cp037"),
    "an encoding that is a compression": lambda: declared("zlib_codec"),
    "a compressed bomb": lambda: gzip.compress(b" " * (200 * MEGABYTE)),
    "an archive": lambda: b"PK\x03\x04" + LONG.encode(),
    "nothing": lambda: b"",
}


def file(name: str) -> bytes:
    content = FILES[name]()
    return content if isinstance(content, bytes) else content.encode()
