"""What a function costs under private inference: counted, priced, and measured."""
