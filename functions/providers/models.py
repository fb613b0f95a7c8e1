"""AI providers: a tenant's own connections to models."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from shared.ai.names import OFFLINE, PLATFORM, PROVIDER_NAME
from shared.http.pagination import NamedQuery
from shared.kinds import Kind
from shared.work.resources import Body, Resource

RESERVED = (OFFLINE, PLATFORM)
MAX_KEY = 4096
MAX_MODELS = 50
Speaks = Literal["openai", "azure_openai", "anthropic"]
ProviderName = Annotated[str, Field(pattern=PROVIDER_NAME, examples=["our-openai"])]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$")]


class ProviderFields(Body):
    """What a client may set of a provider. `key` is written and never shown."""

    name: ProviderName = Field(description="What agents call it, for ever; not offline or platform, which there are.")
    wire: Speaks = Field(description="What it speaks; openai is spoken by many others at an address of theirs.")
    base_url: str | None = Field(
        None, max_length=500, description="Its https address; null: the provider's own. Azure OpenAI: the resource's."
    )
    models: list[ModelName] = Field(
        min_length=1, max_length=MAX_MODELS, description="The models (Azure: deployments) that may be used."
    )
    default_model: str = Field("", max_length=200, description="One of them; empty: the first.")
    api_version: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}(-preview)?$")] | None = Field(
        None, description="Of Azure OpenAI alone; null: the one that Flowgrid knows."
    )
    key: str | None = Field(
        None,
        json_schema_extra={"writeOnly": True},
        description="Its API key, 1 to 4096 characters; null: as it is. A new one, or one sent again, is needed for a "
        "new provider and for another address or wire.",
    )


class Provider(Resource):
    """An AI provider of the tenant. Its key lies with the secrets, and is shown to nobody."""

    KIND: ClassVar[Kind] = Kind(
        "provider",
        filtered=("name",),
        sorted=("updated_at", "name"),
        backup="restored",
        journalled=True,
        exported=True,
    )

    name: str = Field(description="What agents call it.")
    wire: Speaks = Field(description="What it speaks.")
    base_url: str | None = Field(description="Its address; null: the provider's own.")
    models: list[str] = Field(description="The models that may be used.")
    default_model: str = Field(description="The one that is used where none is named.")
    api_version: str | None = Field(description="Of Azure OpenAI alone.")
    key_reference: str = Field(description="Where its key lies: worth nothing outside of Flowgrid, and new with each.")


class ProviderQuery(NamedQuery):
    """The filters of the provider list, all of them equality."""

    name: str | None = Field(None, max_length=50)
