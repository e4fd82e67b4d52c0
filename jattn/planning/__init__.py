"""What a run takes on devices that one does not have: memory, products, communication and time."""
