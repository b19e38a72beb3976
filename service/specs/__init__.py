"""The spec generator: the workarounds that apply, the template language, the rendered text. Pure."""
