"""The client of a provider's server: it encrypts here, so that neither photos nor the key leave this machine."""

from cipherlens.client.client import AsyncClient, Client
from cipherlens.client.sealing import Prediction

__all__ = ["AsyncClient", "Client", "Prediction"]
