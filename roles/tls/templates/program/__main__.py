"""Order certificates, or install them: see _certificate_acme.py."""

from ._certificate_acme import main

main()
