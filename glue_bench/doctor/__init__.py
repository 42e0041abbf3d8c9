"""What works here, and what to do about what does not: findings as plain data. Changes nothing, downloads nothing.

Nothing is imported here: where a library is missing, its finding must still be found.
"""
