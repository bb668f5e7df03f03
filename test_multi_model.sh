#!/bin/sh
# Every model of a folder on one device: test_multi_model.sh BACKEND [DIR]; BACKEND is cpu, cuda or mps.
exec llorch-verify matrix "${2:-models}" --devices "${1:-cpu}"
