"""Inviting the people of a CSV file: what a row may be, what becomes of each, and that again is no error."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.errors import CliError
from cli.invitations.here import OPERATOR, HereGuests
from cli.invitations.inviting import INVITED, REFUSED, REMOVED, THERE, Report, invite
from cli.invitations.rows import MOST_ROWS, Row, read
from functions.composition import Parts
from functions.usage.quotas import Quota
from tests.unit.world import World, admin

MERGE = {"content-type": "application/merge-patch+json"}
FILE = "email,name,role\nada@acme.example,Ada,admin\ngrace@acme.example,Grace,user\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    path.write_text(FILE)
    return path


@pytest.fixture
async def guests(world: World) -> AsyncIterator[HereGuests]:
    """Of a tenant with its admin, and room for three more."""
    tenant = await world.onboard(tier="standard", max_users=4)
    yield await guests_of(world, tenant["id"])


async def guests_of(world: World, tenant_id: str) -> HereGuests:
    return HereGuests(world.core, Parts(world.core), await world.session(tenant_id, OPERATOR))


def rows_of(path: Path, content: bytes | str) -> list[Row]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path)


def told(report: Report) -> list[tuple[int, str, str, str]]:
    return [(line.line, line.email, line.result, line.reason) for line in report.lines]


@pytest.mark.parametrize(
    "content",
    [
        FILE,
        FILE.replace("\n", "\r\n"),
        FILE.rstrip("\n"),
        "\ufeff" + FILE,
        FILE.replace(",", ";"),
        FILE.replace(",", "\t"),
        '\ufeffE-Mail; Name ;ROLE\r\nAda@Acme.example;"Ada";Admin\r\n grace@acme.example;Grace;tenant:user\r\n',
        FILE + "\n,,\n",
    ],
    ids=["plain", "crlf", "no last line end", "bom", "semicolons", "tabs", "a spreadsheet's", "empty rows"],
)
def test_a_file_is_read_as_spreadsheets_write_it(file: Path, content: str) -> None:
    found = [(row.line, row.user) for row in rows_of(file, content)]
    assert [(line, user and user.model_dump()) for line, user in found] == [
        (2, {"email": "ada@acme.example", "name": "Ada", "role": "admin"}),
        (3, {"email": "grace@acme.example", "name": "Grace", "role": "user"}),
    ]


def test_a_name_may_hold_what_quotes_are_for_and_columns_may_be_more(file: Path) -> None:
    (row,) = rows_of(file, 'team,role,email,name\nx,viewer,ada@acme.example,"Lovelace, Ada ""Countess"""\n')
    assert row.user is not None
    assert (row.user.name, row.user.role) == ('Lovelace, Ada "Countess"', "viewer")
    (nameless,) = rows_of(file, "email,role\nada@acme.example,user\n")
    assert nameless.user is not None and nameless.user.name == ""


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"ada@acme,Ada,user", "email 'ada@acme' is no e-mail address"),
        (b",Ada,user", "email '' is no e-mail address"),
        (b"ada@acme.example,Ada,boss", "role 'boss' should be admin, user or viewer"),
        (b"ada@acme.example,Ada,", "role '' should be admin, user or viewer"),
        (b"ada@acme.example,Ada,platform:admin", "role 'platform:admin' should be admin, user or viewer"),
        (b"ada@acme.example," + b"x" * 256 + b",user", f"name '{'x' * 50}' is a name of more than 255 characters"),
        (b"ada@acme.example,Ada", "has 2 columns, and the first line 3"),
        (b"ada@acme.example,Lovelace, Ada,user", "has 4 columns, and the first line 3"),
        (b"ada@acme.example,\xdcberin,user", "is not UTF-8; save the file as CSV UTF-8"),
        (b'ada@acme.example,"A\nda",user', "holds a control character, or a line end in quotes"),
        (b'ada@acme.example,"Ada"x,user', "is no row of a CSV file: ',' expected after '\"'"),
        (b"grace@acme.example,Ada,user", "line 2 names the same address"),
        (b"GRACE@acme.example,Ada,user", "line 2 names the same address"),
    ],
)
def test_a_bad_row_is_refused_alone_with_its_line_and_reason(file: Path, row: bytes, reason: str) -> None:
    content = b"email,name,role\ngrace@acme.example,Grace,user\n" + row + b"\nlast@acme.example,Last,user\n"
    first, bad, last = rows_of(file, content)
    assert (first.reason, bad.line, bad.user, bad.reason, last.reason) == ("", 3, None, reason, "")
    assert last.line == 4 + row.count(b"\n")


def test_a_quote_that_is_never_closed_says_how_much_it_takes_with_it(file: Path) -> None:
    first, bad = rows_of(file, 'email,role\na@acme.example,user\n"b@acme.example,user\nc@acme.example,user\n')
    assert first.user is not None
    assert (bad.line, bad.reason.endswith("(lines 3 to 4 are one row)")) == (3, True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "should name its columns"),
        (b"ada@acme.example,Ada,admin\n", "should name its columns"),
        (b'"email,role\n', "should name its columns"),
        (b"email,role,E-Mail\n", "names a column twice"),
        ("email,role\n".encode("utf-16"), "is not UTF-8"),
        (b"email,role\n\0\n", "is not UTF-8"),
        (b"email,role\n" + b"a,b\n" * (MOST_ROWS + 1), "has more than 10,000 rows"),
        (b"x" * (10 * 1024 * 1024 + 1), "is larger than 10 MB"),
    ],
)
def test_a_file_of_which_no_row_can_be_read_is_told_in_one_line(file: Path, content: bytes, said: str) -> None:
    with pytest.raises(CliError, match=said):
        rows_of(file, content)


async def test_people_are_invited_with_their_roles_and_again_is_no_error(
    world: World, guests: HereGuests, file: Path
) -> None:
    first, again = [await invite(read(file), guests, dry_run=False) for _ in range(2)]
    assert told(first) == [(2, "ada@acme.example", INVITED, ""), (3, "grace@acme.example", INVITED, "")]
    assert told(again) == [(2, "ada@acme.example", THERE, ""), (3, "grace@acme.example", THERE, "")]
    users = (await world.call("list_users", admin(guests.tenant_id))).json["items"]
    assert {(one["email"], one["name"], one["role"], one["status"]) for one in users} == {
        ("admin@acme.example", "", "admin", "invited"),
        ("ada@acme.example", "Ada", "admin", "invited"),
        ("grace@acme.example", "Grace", "user", "invited"),
    }
    entries = (await world.call("list_audit", admin(guests.tenant_id), query={"action": "user.created"})).json["items"]
    assert [entry["user_id"] for entry in entries].count(OPERATOR.subject) == 2


async def test_a_dry_run_says_the_same_and_writes_nothing(world: World, guests: HereGuests, file: Path) -> None:
    rows = rows_of(file, FILE + "x@acme.example,X,user\ny@acme.example,Y,user\nbad,,user\n")
    dry = await invite(rows, guests, dry_run=True)
    assert len((await world.call("list_users", admin(guests.tenant_id))).json["items"]) == 1
    real = await invite(rows, guests, dry_run=False)
    assert [line[:3] for line in told(dry)] == [line[:3] for line in told(real)]
    assert dry.counts == real.counts == {INVITED: 3, THERE: 0, REFUSED: 2}


async def test_beyond_the_plan_nobody_is_invited_and_all_are_told(guests: HereGuests, file: Path) -> None:
    rows = rows_of(file, "email,role\n" + "".join(f"u{number}@acme.example,user\n" for number in range(6)))
    report = await invite(rows, guests, dry_run=False)
    assert [line.result for line in report.lines] == [INVITED] * 3 + [REFUSED] * 3
    assert {line.reason for line in report.lines[3:]} == {"User quota exceeded: 4 of 4"}
    assert report.quota == {"limit": 4, "used": 1}


async def test_who_was_removed_stays_out(world: World, guests: HereGuests, file: Path) -> None:
    await invite(read(file), guests, dry_run=False)
    users = (await world.call("list_users", admin(guests.tenant_id))).json["items"]
    grace = next(one["id"] for one in users if one["email"] == "grace@acme.example")
    assert (await world.call("delete_user", admin(guests.tenant_id), params={"user_id": grace})).status == 204
    assert told(await invite(read(file), guests, dry_run=False)) == [
        (2, "ada@acme.example", THERE, ""),
        (3, "grace@acme.example", REFUSED, REMOVED),
    ]


async def test_who_is_there_is_left_as_they_are_and_it_is_told(world: World, guests: HereGuests, file: Path) -> None:
    await invite(read(file), guests, dry_run=False)
    changed = FILE.replace("Ada,admin", "Ada,viewer")
    assert told(await invite(rows_of(file, changed), guests, dry_run=False))[0][2:] == (THERE, "as admin, not viewer")
    users = (await world.call("list_users", admin(guests.tenant_id))).json["items"]
    grace = next(one["id"] for one in users if one["email"] == "grace@acme.example")
    patch = {"status": "disabled"}
    await world.call("patch_user", admin(guests.tenant_id), patch, params={"user_id": grace}, headers=MERGE)
    assert told(await invite(read(file), guests, dry_run=False))[1][2:] == (THERE, "and disabled")


async def test_who_comes_in_between_is_there(guests: HereGuests, file: Path, world: World) -> None:
    rows = read(file)
    other = await guests_of(world, guests.tenant_id)

    class Late(HereGuests):
        """Somebody else invites the same people after this one has looked."""

        async def quota(self) -> Quota:
            await invite(rows, other, dry_run=False)
            return await super().quota()

    late = Late(guests._core, guests._parts, guests._session)
    assert [line.result for line in (await invite(rows, late, dry_run=False)).lines] == [THERE, THERE]


def test_the_command_needs_a_tenant_that_is_there(file: Path, tmp_path: Path) -> None:
    def failure(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["invite", str(file), "--data", str(tmp_path / "data"), *arguments])
        assert done.exit_code == 2
        return done.stderr

    assert failure("--tenant", "nobody") == "flowgrid: There is no tenant with the slug 'nobody'.\n"
    assert "is not there" in failure("--tenant", "0190c2a8-7e10-7abc-8def-000000000009")
    assert "--api needs --token" in failure("--tenant", "acme", "--api", "http://127.0.0.1:1")


async def test_the_report_as_json_counts_what_it_lists(guests: HereGuests, file: Path) -> None:
    found = json.loads(json.dumps((await invite(read(file), guests, dry_run=True)).as_json()))
    assert (found["dry_run"], found["counts"], len(found["lines"])) == (True, {INVITED: 2, THERE: 0, REFUSED: 0}, 2)
