"""The desk as a web page: who may ask, its routes, its parts."""
