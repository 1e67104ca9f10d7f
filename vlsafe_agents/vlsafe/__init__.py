"""World model, actor-critic in imagination and the agent `VLSafe`."""
