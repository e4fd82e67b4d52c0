"""What a function costs where nobody may see its data: operations counted in its jaxpr, and priced by protocol."""
