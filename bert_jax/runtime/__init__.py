"""Devices and processes: the mesh, several hosts, the compilation cache, the command line."""
