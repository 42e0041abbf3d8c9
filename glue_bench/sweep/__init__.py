"""Tasks x seeds x encoders: which runs are missing, and who runs them."""
