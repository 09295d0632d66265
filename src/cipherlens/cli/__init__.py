"""The command line: one module per group of commands; torch and timm are imported only where they are used."""
