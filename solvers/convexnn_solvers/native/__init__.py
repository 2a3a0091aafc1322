"""The native solver: proximal Newton steps on a working set of blocks, semismooth Newton inside."""
