"""Stand-ins that ship with the package: a scripted model, memory stores, and `sim`, a model server without a model."""
