"""Encoders and heads: where the files lie, the padded and the flat engine, the classifier."""
