"""A format and a layout for mvtec-convert."""
