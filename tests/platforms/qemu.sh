#!/bin/sh
# Prepares this machine for Linux programs of other processors: ./qemu.sh FOLDER. Installs QEMU's user mode (Debian's package
# qemu-user-static), and unpacks the C and C++ libraries of each processor into FOLDER/ARCHITECTURE. Needs Debian, and root or
# sudo to install QEMU. What is installed already is not installed again.
set -eu

folder=${1:?usage: qemu.sh FOLDER}
architectures='arm64 armhf s390x'
packages='libc6 libstdc++6 libgcc-s1 libatomic1'
programs='qemu-aarch64-static qemu-arm-static qemu-s390x-static'

fail() {
  echo "qemu.sh: $*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo -n "$@" || fail 'root or sudo is needed to install qemu-user-static'
  fi
}

have_qemu() {
  for program in $programs; do
    command -v "$program" >/dev/null || return 1
  done
}

if ! have_qemu; then
  command -v apt-get >/dev/null || fail 'Debian is needed: there is no apt-get'
  install='install -y --no-install-recommends qemu-user-static'
  apt='env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=900'
  # Updates the lists of packages only if the installation fails without that.
  # shellcheck disable=SC2086
  as_root $apt $install || { as_root $apt update && as_root $apt $install; } || fail 'could not install qemu-user-static'
  have_qemu || fail 'qemu-user-static lacks one of: '"$programs"
fi

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

for architecture in $architectures; do
  [ ! -e "$folder/$architecture/complete" ] || continue
  command -v apt-get >/dev/null || fail 'Debian is needed: there is no apt-get'
  rm -rf "${folder:?}/$architecture"
  work=$folder/$architecture/apt
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/packages"
  # Keeps the lists of packages in this folder, for this architecture alone. So the system's own settings stay as they are.
  apt() {
    apt-get -q -o DPkg::Lock::Timeout=900 -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" \
      -o Dir::State::Lists="$work/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" \
      -o APT::Sandbox::User="$(id -un)" "$@"
  }
  # Goes on after an error: some of the system's sources may lack this architecture. If a package is missing, its download fails.
  apt update || echo "qemu.sh: some lists for $architecture could not be downloaded" >&2
  cd "$work/packages"
  for package in $packages; do
    apt download "$package" || fail "could not download $package:$architecture"
  done
  for file in *.deb; do
    dpkg -x "$file" "$folder/$architecture" || fail "could not unpack $file"
  done
  cd "$folder"
  rm -rf "$work"
  touch "$folder/$architecture/complete"
done
