"""A small corpus of synthetic speakers, made on the machine, with everything that is true of it written down."""
