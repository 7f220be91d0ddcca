#!/usr/bin/env bash
# Runs the tests of the library, the API and the command on every Python that Lookalike supports and this
# machine has: uv's, pyenv's, or one on the PATH, each in an environment of its own. A missing one is
# skipped, and so is that of .venv, on which `make test` runs everything. VGG16 is left out, as it runs
# through the same adapters as the embedded encoder and takes half of the time; so are the tests that build
# the wheel, those of the server's processes and pages, those that end or kill a build or a transfer, those that count
# its work, follow a folder or let it hang, and what decides in libraries that are the same on every Python: the pixels
# of all formats, OpenCV, the training of FAISS, Keras and ncnn but for one test, object storage, files of weights,
# worker processes, generated requests, SQLite files that are damaged or cannot be written.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSIONS=(3.11 3.12 3.13)
TESTS=(tests/indexer tests/contracts tests/server/api tests/lookalike)
LEFT_OUT="not vgg and not random_weights and not test_original and not test_wheel and not test_surroundings \
  and not test_crashes and not test_kills and not killed and not test_failures and not test_growth and not hangs \
  and not test_a_part_costs and not test_matrix and not test_watch and not too_few_vectors and not s3 \
  and not test_weights and not converted_once and not repaired_by_the_next_build and not test_derive and not test_memory \
  and not may_hang and not stops_the_run and not take_over and not test_read_only and not test_geometry \
  and not test_beside and not test_human_scores and not test_why and not test_repair and not test_working_catalogue \
  and not test_objects and not test_parquet_objects and not test_fuzz and not several_gpus and not lower_precision \
  and not takes_long_to_decode and not test_executor and not test_processes and not test_stages and not test_plan \
  and not (test_encoder and not test_vectors_are_float32)"

UV=$(command -v uv || echo "$PWD/.venv/bin/uv")  # installs the packages in a fourth of pip's time

# is PYTHON VERSION: whether a command is that version of Python; pyenv's shims often are none.
is() {
  "$1" -c "import ensurepip, sqlite3, ssl, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" 2>/dev/null
}

# find_python VERSION: prints where that version is, or nothing.
find_python() {
  local candidate
  for candidate in \
    "$("$UV" python find --no-python-downloads "$1" 2>/dev/null || true)" \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python \
    "$(command -v "python$1" || true)" "/usr/bin/python$1"; do
    if [ -x "$candidate" ] && is "$candidate" "$1"; then
      echo "$candidate"
      return
    fi
  done
}

# make_environment PYTHON FOLDER: makes one with the locked packages, if there is none already.
make_environment() {
  if [ "$2/.installed-dev" -nt requirements-dev.lock ]; then
    return
  fi
  echo "Installing the locked packages into $2."
  if [ -x "$UV" ]; then
    "$UV" venv --quiet --clear --python "$1" "$2"
    VIRTUAL_ENV="$PWD/$2" "$UV" pip install --quiet --require-hashes -r requirements-dev.lock
  else
    "$1" -m venv --clear "$2"
    "$2/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
      -r requirements-dev.lock
  fi
  touch "$2/.installed-dev"
}

for version in "${VERSIONS[@]}"; do
  if is .venv/bin/python "$version"; then
    echo "Python $version is that of .venv: make test runs everything on it."
    continue
  fi
  python=$(find_python "$version")
  if [ -z "$python" ]; then
    echo "SKIPPED: Python $version is not here."
    continue
  fi
  make_environment "$python" ".venv-$version"
  echo "Running the tests of the library, the API and the command, but for VGG16, on Python $version ($python)."
  ".venv-$version/bin/python" -m pytest -q -n auto --dist loadfile \
    -k "$LEFT_OUT" "${TESTS[@]}"
done
