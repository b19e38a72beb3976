"""Stores build logs: packs them in blocks, keeps them as files or in an S3 bucket, reads parts of them."""
