"""Memory: loaded models, budgets, staging between host and device, sinks, what to do when it runs out."""
