"""Commands about clips. Each is a module with ``add_arguments(parser)`` and ``run(arguments, say)``."""
