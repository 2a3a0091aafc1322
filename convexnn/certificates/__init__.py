"""Certificates: bounds on the training objective that hold for networks of every width."""

from convexnn.certificates.certificate import Certificate, Witness
from convexnn.certificates.certify import certify_network
from convexnn.certificates.problem import CertificationProblem

__all__ = ["Certificate", "CertificationProblem", "Witness", "certify_network"]
