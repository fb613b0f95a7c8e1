"""What a model's tokens cost, by the list that comes with the package genai-prices; nothing is fetched.

Imported on first use. A model that the list does not have, or a server that only speaks like a provider, has no price.
"""

import math
from collections.abc import Sequence

from genai_prices import Usage, calc_price

from shared.ai.port import Connection, TokenUsage

PROVIDERS = {"openai": "openai", "azure_openai": "azure", "anthropic": "anthropic"}
MICRO = 1_000_000


def price_of(connection: Connection, models: Sequence[str], usage: TokenUsage, *, cache_written: int = 0) -> int | None:
    """Micro-USD, rounded up, of the first of these names that has a price.

    `cache_written`: those of the input that the provider has put into its cache, which some charge more for.
    """
    counted = Usage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cached,
        cache_write_tokens=cache_written,
    )
    for model in models:
        try:
            if connection.base_url is None or connection.wire == "azure_openai":
                found = calc_price(counted, model, provider_id=PROVIDERS[connection.wire])
            else:  # whoever answers at that address
                found = calc_price(counted, model, provider_api_url=connection.base_url)
        except LookupError:
            continue
        return math.ceil(found.total_price * MICRO)
    return None
