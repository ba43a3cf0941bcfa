"""The bytes of registered versions: how they are cut, named, kept, moved and laid out."""
