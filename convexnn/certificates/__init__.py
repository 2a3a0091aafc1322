"""Certificates: how far a network is from the best one of any width, whatever has trained it."""

from convexnn.certificates.certificate import Certificate, Witness

__all__ = ["Certificate", "Witness"]
