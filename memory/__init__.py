"""Memory: loaded models, budgets, staging between host and device, sinks, and the ladder when it runs out."""
