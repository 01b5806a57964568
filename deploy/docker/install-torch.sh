#!/bin/sh
# Makes an environment that holds torch and what torch needs, pinned.
#
#   install-torch.sh ENVIRONMENT [INDEX]
#
# INDEX is the package index of one kind of build (CPU only, or one CUDA version); without it the
# default index decides, whose build for Linux brings CUDA. Only torch itself comes from INDEX: such
# an index keeps few versions of other packages, and not the pinned ones.
set -eu
environment=$1
index=${2:-}

python -m venv --without-pip "$environment"
install() {
  python -m pip --python "$environment" install --constraint constraints.txt "$@"
}
if [ -n "$index" ]; then
  install --no-deps --index-url "$index" torch
fi
install torch
