"""HTTP routes of the provider service."""

import azure.functions as func

from functions.providers.models import ProviderFields, ProviderQuery
from functions.providers.service import ProviderService
from shared.auth.roles import Role
from shared.http.crud import crud
from shared.http.endpoint import Endpoint

EXAMPLE = {"name": "our-openai", "wire": "openai", "models": ["gpt-5", "gpt-5-mini"], "key": "sk-of-our-account"}


def blueprint(endpoint: Endpoint, providers: ProviderService) -> func.Blueprint:
    routes = func.Blueprint()
    crud(
        endpoint,
        routes,
        providers,
        path="providers",
        fields=ProviderFields,
        query=ProviderQuery,
        example=EXAMPLE,
        patch={"key": "sk-of-our-account-2"},
        writes_by=Role.ADMIN,
    )
    return routes
