#!/bin/sh
# Makes the environment that an image runs: the project's wheel with its extras, pinned, and no pip.
#
#   install.sh WHEELS EXTRAS ENVIRONMENT [LIBRARIES]
#
# LIBRARIES is an environment made before whose packages are taken as they are. So torch can be a
# layer of its own, which a change of the project's source leaves untouched.
set -eu
wheels=$1
extras=$2
environment=$3
libraries=${4:-}

python -m venv --without-pip "$environment"
if [ -n "$libraries" ]; then
  site=$(echo "$environment"/lib/python*/site-packages)
  echo "$libraries"/lib/python*/site-packages > "$site/libraries.pth"
fi
wheel=$(echo "$wheels"/training_engine-*.whl)
python -m pip --python "$environment" install --constraint constraints.txt "$wheel[$extras]"
