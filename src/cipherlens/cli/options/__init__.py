"""Options that commands share, as frozen dataclasses: each field is an option, its docstring the help."""
