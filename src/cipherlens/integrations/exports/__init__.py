"""Write trained models in the formats of other tools."""

from cipherlens.integrations.exports.export import Exported, export

__all__ = ["Exported", "export"]
