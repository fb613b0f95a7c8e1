"""Files that were made to hurt: each is read or refused in little time and memory, with its limit and its line."""

import asyncio
import json
import subprocess
import sys
import threading
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from functions.catalog.exchange import ExchangeTooLarge
from functions.catalog.exchange_parse import LANG, MAX_MARKUP_BYTES, MAX_TEXT, MAX_TEXT_IN_ONE, NS, nodes
from functions.catalog.importing import CatalogImport
from functions.catalog.models import Element as ElementKind
from functions.catalog.reading import AT_ONCE, BYTES_AT_ONCE, READ_SECONDS, SMALL_BYTES, Uploads
from functions.catalog.values import MAX_FIELDS_BYTES
from shared.errors import Invalid, TooLarge, Unavailable
from tests.doubles.hostile_files import FILES, VALUE, definition, definitions, elements, file, in_one, model
from tests.unit.catalog_world import Catalog, file_of, hand_written, process
from tests.unit.world import World, admin

ROOT = Path(__file__).parents[2]
ELEMENT = f"{NS}element"
SLOW = {  # valid up to a limit on their number; bench/uploads.py has them too
    name for name in FILES if "million" in name or name.startswith(("relationships", "identifiers", "a key", "wrong"))
}


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


def element_with(texts: str) -> bytes:
    return in_one(texts).encode()


async def refused(catalog: Catalog, body: str | bytes) -> str:
    with pytest.raises((Invalid, TooLarge)) as caught:
        await catalog.read(body if isinstance(body, bytes) else body.encode())
    return str(caught.value)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
@pytest.mark.long
def test_no_hostile_file_takes_much_memory_or_time() -> None:
    names = sorted(set(FILES) - SLOW)
    command = [sys.executable, "-m", "tests.doubles.hostile_reader", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["name"] for one in results] == names
    assert len(FILES) >= 50
    assert [one for one in results if one["megabytes"] > 100 or one["seconds"] > 20] == []  # it was hours


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a property's long name at every element", "at most 255"),
        ("a language of 8 KB for the whole model", "lang has 8000 characters; it may have at most 50"),
        ("a long language of a name", f"at most {MAX_MARKUP_BYTES}"),
        ("identifiers of 30 KB", "identifier has 30001 characters; it may have at most 255"),
        ("billion laughs", "DOCTYPE"),
        ("a million nodes deep", "64 deep"),
        ("a million names of nodes", "1000 different names"),
        ("a namespace of 15 KB in every attribute", "namespace may have at most 500"),
        ("a long namespace in hundreds of attributes", "at most 100 attributes"),
        ("millions of foreign nodes", "at most 1000000 nodes"),
        ("a million property definitions", "10,000 property definitions"),
        ("definitions of one name", "at most 255"),
    ],
)
async def test_a_refusal_says_the_limit_and_the_line(catalog: Catalog, name: str, words: str) -> None:
    said = await refused(catalog, file(name))
    assert words in said and "(line 1)" in said
    assert await catalog.stored(ElementKind.KIND) == []


@pytest.mark.parametrize(
    "texts",
    [
        f"<name>{'x' * 1001}</name>",
        f"<documentation>{'x' * 20_001}</documentation>",
        f'<name xml:lang="de">{"x" * 1001}</name>',
        f"<properties>{VALUE.replace('>v<', '>' + 'x' * 20_001 + '<')}</properties>",
        "<properties>" + "".join(VALUE.replace('"p"', f'"p{n}"') for n in range(201)) + "</properties>",
        "<properties>"
        + "".join(VALUE.replace('"p"', f'"p{n}"').replace(">v<", f">{'x' * 19_000}<") for n in range(15))
        + "</properties>",
    ],
    ids=["name", "documentation", "translation", "value", "properties", "all of it"],
)
async def test_what_no_client_could_set_is_skipped_and_the_rest_is_taken(catalog: Catalog, texts: str) -> None:
    inner = f'<element identifier="b" xsi:type="Node">{texts}</element>'
    body = element_with("").replace(b"</elements>", inner.encode() + b"</elements>")
    if "xml:lang" in texts:
        body = body.replace(b'"b" xsi:type="Node">', b'"b" xsi:type="Node"><name>B</name>')
    report = await catalog.read(body)
    assert ([one.identifier for one in report.skipped_items], report.elements.created) == (["b"], 1)


async def test_what_an_import_has_taken_can_be_patched(catalog: Catalog) -> None:
    largest = {f"{n:x<255}": "x" * 20_000 for n in range(10)}
    await catalog.read(file_of(process("a", "n" * 1000, description="d" * 20_000, properties=largest)))
    (one,) = await catalog.stored(ElementKind.KIND)
    assert (await catalog.patch_element(one["id"], name="new")).name == "new"


async def test_what_a_client_may_set_is_never_too_large_for_an_import(catalog: Catalog) -> None:
    sizes = {f"p{n}": "x" * 20_000 for n in range(12)}
    last = MAX_FIELDS_BYTES - sum(20_000 + len(key) + 6 for key in sizes) - 150
    made = await catalog.element("Node", name="x", properties=sizes, description="x" * last)
    with pytest.raises(TooLarge):
        await catalog.patch_element(made.id, description="x" * (last + 200))
    report = await catalog.read((await catalog.export()).replace(made.id.encode(), b"another"))
    assert (report.created, report.skipped) == (1, 0)


# Others go on


async def test_a_file_that_takes_too_long_to_read_is_refused(catalog: Catalog) -> None:
    passed = 0.0

    def monotonic() -> float:
        nonlocal passed
        passed += READ_SECONDS / 10
        return passed

    catalog.imports = CatalogImport(catalog.world.core.adapters.blobs, Uploads(monotonic, lambda _: None))
    with pytest.raises(TooLarge, match=f"{READ_SECONDS:.0f} s"):
        await catalog.read(file_of(*(process(f"e{number}") for number in range(1000))))


async def test_an_import_that_takes_too_long_to_write_says_so_and_goes_on_when_it_comes_again(catalog: Catalog) -> None:
    passed = 0.0
    uploads = Uploads(lambda: passed, lambda _: None)
    catalog.imports = CatalogImport(catalog.world.core.adapters.blobs, uploads)

    async def later() -> None:
        nonlocal passed
        passed += 1000

    catalog.once_before(lambda _: len(catalog.store.batches) == 2, later)
    body = file_of(*(process(f"e{number}") for number in range(200)))
    with pytest.raises(Unavailable, match="Send the file again"):
        await catalog.read(body)
    report = await catalog.read(body)
    assert (report.created, report.unchanged) == (80, 120)


async def test_the_reading_ends_when_the_caller_goes() -> None:
    reached, go_on, slices = threading.Event(), threading.Event(), 0

    def pause(_: float) -> None:
        nonlocal slices
        slices += 1
        reached.set()
        go_on.wait(30)

    uploads = Uploads(monotonic=count().__next__, pause=pause)
    task = asyncio.create_task(uploads.read(elements("<a/>" * 100_000).encode()))
    await asyncio.to_thread(reached.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()  # the thread has come to its end
    assert slices == 1


async def test_a_tenant_imports_one_file_at_a_time_and_a_process_a_few() -> None:
    uploads = Uploads()
    with uploads.admit("a", SMALL_BYTES + 1):
        with pytest.raises(Unavailable, match="this tenant"), uploads.admit("a", 1):
            pass
        with pytest.raises(Unavailable, match="Too many"), uploads.admit("b", BYTES_AT_ONCE):
            pass
    admitted = [uploads.admit(str(number), 1) for number in range(AT_ONCE)]
    for one in admitted:
        one.__enter__()
    with pytest.raises(Unavailable, match="Too many"), uploads.admit("one more", 1):
        pass
    admitted[0].__exit__(None, None, None)
    with uploads.admit("one more", 1):
        pass


@pytest.mark.parametrize("size", [BYTES_AT_ONCE, BYTES_AT_ONCE // AT_ONCE], ids=["one", "as many as may be"])
async def test_small_files_are_admitted_while_large_ones_take_all_their_room(size: int) -> None:
    uploads = Uploads()
    with ExitStack() as all:
        for number in range(BYTES_AT_ONCE // size):
            all.enter_context(uploads.admit(f"large {number}", size))
        for number in range(AT_ONCE):
            all.enter_context(uploads.admit(f"small {number}", SMALL_BYTES))
        with pytest.raises(Unavailable, match="Too many"), uploads.admit("one more", 1):
            pass


async def test_a_refused_import_says_when_to_come_again(world: World) -> None:
    tenant = (await world.onboard())["id"]
    sent: dict[str, Any] = {"headers": {"content-type": "application/xml"}}
    body = file_of(*(process(f"e{number}") for number in range(200)))
    answers = await asyncio.gather(*(world.call("import_catalog", admin(tenant), body, **sent) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 503, 503]
    assert {answer.headers.get("Retry-After") for answer in answers if answer.status == 503} == {"5"}


async def test_a_file_beyond_a_limit_is_too_large(world: World) -> None:
    tenant = (await world.onboard())["id"]
    headers = {"content-type": "application/xml"}
    answer = await world.call("import_catalog", admin(tenant), file("a million nodes deep"), headers=headers)
    assert (answer.status, answer.json["code"]) == (413, "too_large")


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1", "cp1252"])
async def test_the_encodings_that_tools_write_are_read(catalog: Catalog, encoding: str) -> None:
    declared = {"utf-8-sig": "utf-8", "cp1252": "windows-1252"}.get(
        encoding, encoding.removesuffix("-le").removesuffix("-be")
    )
    text = hand_written('<element identifier="a" xsi:type="Node"><name>Störung</name></element>').decode()
    await catalog.read(f'<?xml version="1.0" encoding="{declared}"?>{text}'.encode(encoding))
    assert [one["name"] for one in await catalog.stored(ElementKind.KIND)] == ["Störung"]


async def test_a_definition_whose_name_is_as_long_as_may_be_is_taken(catalog: Catalog) -> None:
    owner = f'<element identifier="a" xsi:type="Node"><name>A</name><properties>{VALUE}</properties></element>'
    body = model(f"<elements>{owner}</elements>{definitions(definition('k' * 255))}")
    await catalog.read(body.encode())
    assert [one["properties"] for one in await catalog.stored(ElementKind.KIND)] == [{"k" * 255: "v"}]


async def test_identifiers_that_would_be_long_as_xml_names_are_skipped(catalog: Catalog) -> None:
    report = await catalog.read(
        hand_written(f'<element identifier="{"~" * 100}" xsi:type="Node"><name>x</name></element>')
    )
    assert (report.created, report.skipped) == (0, 1)
    assert "longer than 255" in report.skipped_items[0].reason


@pytest.mark.parametrize(
    ("limit", "most", "body", "words"),
    [
        ("exchange_parse.MAX_NODES", 20, elements("<a/>" * 20), "at most 20 nodes"),
        ("exchange_parse.MAX_NODES_IN_ONE", 20, in_one("<a/>" * 20), "at most 20 nodes"),
        ("exchange_parse.MAX_ATTRIBUTES", 3, in_one('<a a="" b="" c="" d=""/>'), "at most 3 attributes"),
        ("exchange_parse.MAX_EXPANDED", 100, in_one(f'<a xmlns:n="{"u" * 60}" n:a="" n:b=""/>'), "at most 100 char"),
        ("exchange_parse.MAX_CHARACTERS", 30, in_one(f"<documentation>{'d' * 30}</documentation>"), "more than 30"),
        ("exchange_room.MAX_ITEMS", 2, elements('<element identifier="a" xsi:type="Node"/>' * 3), "more than 2 items"),
        ("exchange_room.MAX_TEXTS", 3, in_one('<name xml:lang="a">a</name>' "<documentation>d</documentation>"
         f"<properties>{VALUE}</properties>"), "more than 3 texts"),
        ("exchange_room.MAX_CHARACTERS", 30, in_one(f"<documentation>{'d' * 30}</documentation>"), "more than 30"),
        ("exchange_read.MAX_DEFINITIONS", 2, model(definitions("".join(map(definition, "abc", "abc")))), "more than 2"),
    ],
)  # fmt: skip
async def test_what_a_file_holds_is_counted(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, body: str, words: str
) -> None:
    await catalog.read(body.encode())
    monkeypatch.setattr(f"functions.catalog.{limit}", most)
    assert words in await refused(catalog, body)


async def test_a_text_is_not_collected_beyond_what_tells_that_it_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    body = in_one(f"<documentation>{'x' * 500_000}</documentation>").encode()
    (found,) = [node for _, node in nodes(body, {f"{NS}elements": 2}, lambda: None) if node.tag == f"{NS}element"]
    assert len("".join(found.itertext())) <= len("A") + MAX_TEXT + 1


def found_in(body: str) -> Element:
    (found,) = [node for _, node in nodes(body.encode(), {f"{NS}elements": 2}, lambda: None) if node.tag == ELEMENT]
    return found


def test_of_foreign_nodes_and_attributes_nothing_is_kept_but_the_text_in_a_text() -> None:
    odd = '<x:a xmlns:x="u" x:b="1"><name>not its name</name><x:c/></x:a>'
    found = found_in(in_one(f'{odd}<documentation q="y" xml:lang="de">a <b>bold</b> word</documentation>'))
    assert [node.tag.removeprefix(NS) for node in found.iter()] == ["element", "name", "documentation"]
    assert ("".join(found.itertext()), found[1].attrib) == ("Aa bold word", {LANG: "de"})


def test_of_one_item_no_more_text_is_kept_than_tells_that_it_is_too_much() -> None:
    value = f"<value>{'x' * 20_000}</value>"
    found = found_in(in_one(f'<properties><property propertyDefinitionRef="p">{value * 50}</property></properties>'))
    assert MAX_FIELDS_BYTES < len("".join(found.itertext())) <= MAX_TEXT_IN_ONE


def test_the_characters_of_a_file_are_counted_while_an_item_of_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.catalog.exchange_parse.MAX_CHARACTERS", 10_000)
    unfinished = in_one(f"<documentation>{'x' * 15_000}").partition("</element>")[0].encode()
    with pytest.raises(ExchangeTooLarge, match="more than 10,000 characters"):
        list(nodes(unfinished, {f"{NS}elements": 2}, lambda: None))


async def test_a_small_file_never_waits_until_a_large_one_has_been_read() -> None:
    reached, go_on = threading.Event(), threading.Event()

    def pause(_: float) -> None:
        reached.set()
        go_on.wait(30)

    uploads = Uploads(monotonic=count().__next__, pause=pause)
    large = asyncio.create_task(uploads.read(elements("<a/>" * (SMALL_BYTES // 4 + 1)).encode()))
    await asyncio.to_thread(reached.wait, 30)
    uploads.pause = lambda _: None
    try:
        small = await asyncio.wait_for(uploads.read(file_of(process("a"))), 10)
        assert (len(small), large.done()) == (2, False)
    finally:
        large.cancel()
        go_on.set()
        await asyncio.gather(large, return_exceptions=True)
