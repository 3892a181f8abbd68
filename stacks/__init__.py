"""The entry of the platform: settings in, components joined, outputs out."""
