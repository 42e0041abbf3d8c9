"""Encoders and heads: their files, the padded and the flat engine, and the classifier."""
