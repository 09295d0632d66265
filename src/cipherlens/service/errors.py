"""What a request is refused with: an HTTP status, and a message that says nothing of this machine."""

RETRY_SECONDS = 1.0
"""After how long a client that found no room may come again. Chosen by hand."""


class RequestError(Exception):
    """A refusal. ``reason`` is its word in metrics, ``retry_after`` the seconds after which it may work."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after


def malformed(message: str) -> RequestError:
    """A request that does not follow the protocol."""
    return RequestError(400, "malformed", message)


def unfit(message: str) -> RequestError:
    """Tensors that the model does not take."""
    return RequestError(422, "unfit", message)


def overloaded(message: str) -> RequestError:
    """More than there is room for at the moment."""
    return RequestError(429, "overload", message, RETRY_SECONDS)
