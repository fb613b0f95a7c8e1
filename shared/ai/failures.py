"""What went wrong with a model call, as one of the port's errors. Imported with the adapter, on first use."""

import logging
from typing import Any

from pydantic_ai import exceptions

from shared.ai.port import ModelFailed, ModelMalformed, ModelRefused, ModelThrottled, ModelTimeout, ModelUnavailable
from shared.outgoing.errors import AddressRefused, AnswerTooLarge, AnswerTooSlow
from shared.outgoing.masking import Mask

logger = logging.getLogger("flowgrid.ai")

SHOWN = 500
AGAIN = (408, 409, 425)
# The first that fits counts.
KINDS: tuple[tuple[type[Exception], type[ModelFailed]], ...] = (
    (AddressRefused, ModelRefused),
    (AnswerTooLarge, ModelMalformed),
    (AnswerTooSlow, ModelTimeout),
    (exceptions.ModelRequestTimeout, ModelTimeout),
    (exceptions.ModelTimeoutError, ModelTimeout),
    (exceptions.ModelQuotaExceededError, ModelRefused),
    (exceptions.ModelRateLimitError, ModelThrottled),
    (exceptions.ModelUnavailableError, ModelUnavailable),
    (exceptions.ModelServerError, ModelUnavailable),
    (exceptions.ModelConnectionError, ModelUnavailable),
    (exceptions.ModelRequestRejectedError, ModelRefused),
    (exceptions.ContentFilterError, ModelRefused),
    (exceptions.UnexpectedModelBehavior, ModelMalformed),
    (exceptions.UserError, ModelRefused),
)


def failure_of(error: Exception, key: str | None) -> ModelFailed:
    """`key`: what must not be told, whoever repeats it."""
    chain = _chain(error)
    for kind, failed in KINDS:
        for one in chain:
            if isinstance(one, kind):
                return failed(_told(one, key), retry_after=getattr(one, "retry_after", None))
    status = next((one.status_code for one in chain if isinstance(getattr(one, "status_code", None), int)), None)
    if status is not None or any(isinstance(one, ValueError) for one in chain):  # of what was to be JSON
        return _by_status(status or 200)(_told(error, key), retry_after=getattr(error, "retry_after", None))
    if isinstance(error, exceptions.ModelAPIError):
        return ModelMalformed(_told(error, key))
    logger.warning("an answer of a model was not understood", exc_info=error)
    return ModelMalformed(f"The AI provider's answer was not understood ({type(error).__name__}).")


def _by_status(status: int) -> type[ModelFailed]:
    if status < 300:
        return ModelMalformed
    return ModelUnavailable if status >= 500 or status in AGAIN else ModelRefused


def _chain(error: BaseException | None) -> list[Any]:
    """The error and what it came of."""
    found: list[Any] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _told(error: BaseException, key: str | None) -> str:
    text = " ".join(Mask(key).text(str(error)).split())
    return f"The AI provider did not answer: {text if len(text) <= SHOWN else text[:SHOWN] + '…'}"
