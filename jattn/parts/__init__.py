"""What can be swapped: one folder a slot, one file a part."""
