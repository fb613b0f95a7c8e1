from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from shared.errors import Throttled, Unavailable
from shared.secrets.keyvault import KeyVaultSecrets
from tests.contract.secrets import SecretsContract
from tests.contract.test_secrets_file import TestFileSecrets as _File
from tests.doubles.certificate import make_certificate
from tests.doubles.identity import Identity
from tests.doubles.keyvault import KeyVaultDouble
from tests.doubles.server import serving

TENANT = str(uuid4())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KeyVaultDouble, str]]:
    double = KeyVaultDouble()
    with serving(double.app(), make_certificate(tmp_path_factory.mktemp("tls"))) as address:
        yield double, address


@pytest.fixture
def vault(server: tuple[KeyVaultDouble, str]) -> KeyVaultDouble:
    double = server[0]
    double.refuse, double.slow = None, 0
    double.requests.clear()
    return double


@pytest.fixture
async def secrets(vault: KeyVaultDouble, server: tuple[KeyVaultDouble, str]) -> AsyncIterator[KeyVaultSecrets]:
    secrets = KeyVaultSecrets(
        server[1],
        credential=Identity,
        poll_seconds=0.01,
        retry_total=0,
        connection_verify=False,
        verify_challenge_resource=False,
    )
    yield secrets
    await secrets.close()


class TestKeyVaultSecrets(SecretsContract):
    pass


def test_both_adapters_run_the_same_cases() -> None:
    def cases(suite: type) -> dict[str, object]:
        return {name: getattr(suite, name) for name in dir(suite) if name.startswith("test")}

    assert cases(_File) == cases(TestKeyVaultSecrets) == cases(SecretsContract)


async def test_a_secret_is_named_after_its_tenant(vault: KeyVaultDouble, secrets: KeyVaultSecrets) -> None:
    await secrets.space(TENANT).put("webhook", "s3cret")
    assert vault.secrets[f"t-{TENANT}-webhook"].value == "s3cret"


async def test_the_token_is_for_the_vault(vault: KeyVaultDouble, secrets: KeyVaultSecrets) -> None:
    await secrets.ping()
    assert vault.tokens == {"Bearer token-of-https://vault.azure.net/.default"}


async def test_a_name_that_is_being_deleted_is_waited_for(vault: KeyVaultDouble, secrets: KeyVaultSecrets) -> None:
    vault.slow = 3
    space = secrets.space(TENANT)
    reference = await space.put("slow", "old")
    await space.delete(reference)
    assert await space.put("slow", "new") == reference
    assert await space.get(reference) == "new"


async def test_a_name_that_stays_deleted_is_unavailable(vault: KeyVaultDouble, secrets: KeyVaultSecrets) -> None:
    space = secrets.space(TENANT)
    reference = await space.put("stuck", "old")
    await space.delete(reference)
    vault.secrets[f"t-{TENANT}-stuck"].state, vault.secrets[f"t-{TENANT}-stuck"].looks = "deleting", 1000
    with pytest.raises(Unavailable, match="still deleting"):
        await space.put("stuck", "new")


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [(403, Unavailable, "Key Vault Secrets Officer"), (429, Throttled, "slow down"), (500, Unavailable, "500")],
)
async def test_a_refusal_says_what_to_do(
    vault: KeyVaultDouble, secrets: KeyVaultSecrets, status: int, error: type[Exception], says: str
) -> None:
    vault.refuse = status
    with pytest.raises(error, match=says):
        await secrets.ping()
    with pytest.raises(error, match=says):
        await secrets.space(TENANT).put("webhook", "x")


async def test_nobody_listening_is_unavailable() -> None:
    secrets = KeyVaultSecrets("https://127.0.0.1:1", credential=Identity, retry_total=0)
    with pytest.raises(Unavailable, match="does not answer"):
        await secrets.ping()
    await secrets.close()
