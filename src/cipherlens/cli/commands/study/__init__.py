"""Commands of whoever studies schemes: attacks, published experiments, the demo."""
