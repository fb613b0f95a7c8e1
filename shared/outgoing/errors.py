"""Why a call to the outside was not made, or was cut; what the network itself refuses stays an error of httpx2."""


class OutgoingFailed(Exception):
    """The root."""


class AddressRefused(OutgoingFailed):
    """It was not called: the address is none that may be called."""


class AnswerTooLarge(OutgoingFailed):
    """The answer was cut at the bound of its bytes, or is packed, so that nobody knows how large it is."""


class AnswerTooSlow(OutgoingFailed):
    """It was given up at the bound of its seconds."""
