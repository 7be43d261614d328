"""The verbs that need `squeezekit[train]`."""
