"""What a request is refused with: an HTTP status, and a message that says nothing of this machine."""


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
