"""What AI providers are called: two that there always are, and a tenant's own."""

OFFLINE = "offline"
PLATFORM = "platform"
PROVIDER_NAME = r"^[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?$"
