"""Speaking to models: one protocol, two provider SDKs behind it, fallback and limits around it."""
