"""Pure text: which workarounds apply, and the spec that a request becomes."""
