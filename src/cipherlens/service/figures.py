"""What a server counts for Prometheus; no payload, token or fingerprint is part of it."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Figures:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "cipherlens_requests", "Requests by model and status", ["model", "status"], registry=registry
        )
        self.refused = Counter("cipherlens_refused", "Refused requests by reason", ["reason"], registry=registry)
        self.images = Counter("cipherlens_images", "Images answered", ["model"], registry=registry)
        self.seconds = Histogram(
            "cipherlens_request_seconds", "Time to answer", ["model"], buckets=_SECONDS, registry=registry
        )
        self.batch = Histogram(
            "cipherlens_batch_images", "Images computed at once", ["model"], buckets=_IMAGES, registry=registry
        )
        self.queue = Gauge("cipherlens_queue_images", "Images that wait", ["model"], registry=registry)

    def show(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)
