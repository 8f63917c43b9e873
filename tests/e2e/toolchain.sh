# shellcheck shell=bash
# Sourced by tests/run and .ci/run: finds cargo and a Python, and says what is missing.

# rustup's `cargo` looks for its toolchain under HOME. Where HOME is another one (a service account, an empty
# folder), the toolchain is still the one that stands beside the `cargo` on PATH. 69 is EX_UNAVAILABLE.
find_cargo() {
  local program homes
  program=$(command -v cargo) || { echo "missing: cargo (install a Rust toolchain and put it on PATH)" >&2; exit 69; }
  cargo --version >/dev/null 2>&1 && return
  homes=$(dirname "$(dirname "$(dirname "$(realpath "$program")")")")
  if [ -z "${RUSTUP_HOME:-}" ] && [ -d "$homes/.rustup/toolchains" ]; then export RUSTUP_HOME=$homes/.rustup; fi
  if [ -z "${CARGO_HOME:-}" ] && [ -w "$homes/.cargo" ]; then export CARGO_HOME=$homes/.cargo; fi
  cargo --version >/dev/null || { echo "cargo does not run; set RUSTUP_HOME and CARGO_HOME" >&2; exit 69; }
}

# Sets `python`.
find_python() {
  for python in python3 python3.11 python3.12 python3.13 python3.14; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
  done
  echo "missing: Python 3.11 or newer (on Debian: apt-get install python3 python3-venv)" >&2
  exit 69
}
