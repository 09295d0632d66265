"""Commands of a provider: training, locked models, exports, the service."""
