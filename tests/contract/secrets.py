"""What every secrets adapter must do. An adapter's test module is this suite plus a `secrets` fixture."""

from uuid import uuid4

import pytest

from shared.errors import NotFound, TooLarge
from shared.secrets.port import MAX_BYTES, Secrets, SecretSpace

BAD_NAMES = ["", "A", "a_b", "a.b", "a/b", "../a", "-a", "a-", "a" * 81, "ä", "a\n", "a b"]
BAD_TENANTS = ["", "acme", "..", "0190C2A8-7E10-7ABC-8DEF-000000000001", "0190c2a87e107abc8def000000000001"]
VALUES = ["s3cret", "", "ünïcödé 🔑", '{"key": "a\\nb"}', "x" * MAX_BYTES]


class SecretsContract:
    @pytest.fixture
    def space(self, secrets: Secrets) -> SecretSpace:
        return secrets.space(str(uuid4()))

    async def test_a_ping_is_answered(self, secrets: Secrets) -> None:
        await secrets.ping()

    @pytest.mark.parametrize("value", VALUES)
    async def test_a_value_comes_back_for_its_reference(self, space: SecretSpace, value: str) -> None:
        assert await space.get(await space.put("webhook", value)) == value

    async def test_a_reference_does_not_tell_the_value(self, space: SecretSpace) -> None:
        assert "s3cret" not in await space.put("webhook", "s3cret")

    async def test_the_latest_value_counts_and_the_reference_stays(self, space: SecretSpace) -> None:
        first = await space.put("webhook", "old")
        assert await space.put("webhook", "new") == first
        assert await space.get(first) == "new"

    async def test_names_are_apart(self, space: SecretSpace) -> None:
        one, other = await space.put("a", "1"), await space.put("a-b", "2")
        await space.delete(one)
        assert await space.get(other) == "2"

    async def test_another_tenant_has_nothing_by_that_reference(self, secrets: Secrets) -> None:
        mine, other = (secrets.space(str(uuid4())) for _ in range(2))
        reference = await mine.put("webhook", "mine")
        with pytest.raises(NotFound):
            await other.get(reference)
        await other.delete(reference)
        await other.put("webhook", "other")
        assert await mine.get(reference) == "mine"

    async def test_a_deleted_secret_is_gone_and_deleting_again_is_no_error(self, space: SecretSpace) -> None:
        reference = await space.put("webhook", "s3cret")
        for _ in range(2):
            await space.delete(reference)
        with pytest.raises(NotFound):
            await space.get(reference)

    async def test_a_deleted_name_may_be_used_again(self, space: SecretSpace) -> None:
        for value in ("one", "two", "three"):
            reference = await space.put("webhook", value)
            assert await space.get(reference) == value
            await space.delete(reference)

    @pytest.mark.parametrize("name", BAD_NAMES)
    async def test_a_bad_name_is_refused(self, space: SecretSpace, name: str) -> None:
        with pytest.raises(ValueError, match="secret"):
            await space.put(name, "x")
        with pytest.raises(ValueError, match="secret"):
            await space.get(f"secret:{name}")
        with pytest.raises(ValueError, match="secret"):
            await space.delete(f"secret:{name}")

    async def test_what_is_no_reference_is_refused_without_being_repeated(self, space: SecretSpace) -> None:
        with pytest.raises(ValueError, match="reference") as error:
            await space.get("s3cret")
        assert "s3cret" not in str(error.value)

    @pytest.mark.parametrize("tenant_id", BAD_TENANTS)
    def test_a_bad_tenant_is_refused(self, secrets: Secrets, tenant_id: str) -> None:
        with pytest.raises(ValueError, match="tenant"):
            secrets.space(tenant_id)

    async def test_too_large_a_value_is_refused(self, space: SecretSpace) -> None:
        with pytest.raises(TooLarge):
            await space.put("webhook", "ü" * (MAX_BYTES // 2) + "xx")
