"""Where images come from (sources) and what a client hands out (sealed data sets)."""
