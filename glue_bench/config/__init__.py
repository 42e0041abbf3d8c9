"""The configuration: schema, composition, overrides. The only room that knows Hydra."""
