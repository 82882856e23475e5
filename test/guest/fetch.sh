#!/bin/bash
# fetch.sh CACHE PART...: fills the cache folder of the guest with Debian packages, unpacked, never installed.
#
# A part is a folder in CACHE that later becomes a layer of the guest's root, below the host's own:
#   tools  what tests run inside: busybox, kmod, iproute2, ipvsadm, ... with the libraries they need
#   6.1    User Mode Linux and its modules
#   6.12   a cloud kernel for qemu and its modules
#   qemu   qemu itself; runs on the host, is no layer
# Each is made under another name and renamed when complete. Only one fetch.sh at a time works on a cache (guest.mjs holds
# CACHE/lock with flock(1)). Needs apt-get and dpkg-deb, not root: package lists that are missing or stale are fetched anew
# into CACHE, and /etc/apt and /var/lib are only read.
set -eu -o pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"

cache=$1
shift
work=$cache/new.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 143' TERM INT HUP
rm -rf "$cache"/new.*
mkdir -p "$work"

# An empty dpkg status: apt then names all a package needs, not only what this host happens to lack.
: >"$work/status"
apt_options=(-q -o Dir::State::status="$work/status" -o APT::Sandbox::User=root -o APT::Install-Recommends=false)

# What every Debian has, or what only maintainer scripts use.
unwanted='^(libc6|libgcc-s1|gcc-[0-9]*-base|dpkg|tar|debconf|cdebconf|perl.*|libperl.*|libgdbm.*|lib.*-perl|usrmerge|usr-is-merged|init-system-helpers|sysvinit-utils|lsb-base|netbase|adduser|passwd|base-passwd|libdebian-installer4|linux-base|initramfs-tools.*)$'

# From here on lists of our own: `own_lists [SUITE]`, the host's sources or one suite of the host's Debian mirror.
own_lists() {
  local lists=$work/apt${1:+-$1}
  mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
  apt_options+=(-o Dir::State::lists="$lists/lists" -o Dir::Cache="$lists/cache")
  if [ $# -gt 0 ]; then
    local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(apt-get indextargets --format '$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)' |
      awk '$1 == "Packages" && $2 == "main" && $3 !~ /-/ { print $4; exit }')
    [ -n "$mirror" ] || return 1
    [ -e "$keyring" ] && keyring="[signed-by=$keyring]" || keyring=
    echo "deb $keyring $mirror $1 main" >"$lists/sources.list"
    apt_options+=(-o Dir::Etc::sourcelist="$lists/sources.list" -o Dir::Etc::sourceparts=-)
  fi
  # One broken source of the host's must not stop us: what counts is whether the packages are found.
  apt-get update "${apt_options[@]}" || true
}

# unpack FOLDER PACKAGE...: the packages and what they depend on.
unpack() {
  local into=$1 debs=$work/debs chosen
  shift
  chosen=$(apt-get install --simulate "${apt_options[@]}" "$@" |
    sed -nE 's/^Inst ([^ ]+) \(([^ ]+) .*/\1 \2/p' | awk -v unwanted="$unwanted" '$1 !~ unwanted { print $1 "=" $2 }')
  [ -n "$chosen" ] || return 1
  rm -rf "$debs" && mkdir -p "$debs" "$into"/usr/{bin,sbin,lib,lib64}
  (cd "$debs" && apt-get download "${apt_options[@]}" $chosen) || return 1
  # Packages that still have files in /bin and /lib unpack into /usr, as on the host.
  for name in bin sbin lib lib64; do ln -sfn usr/$name "$into/$name"; done
  for deb in "$debs"/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner --keep-directory-symlink -C "$into" || return 1
  done
  rm -rf "$debs" "$into"/usr/share/{doc,man,locale,info,bash-completion} "$into"/{var,run,lib64,lib,sbin,bin}
  echo "$chosen" >"$into.packages"
}

tools() {
  unpack "$1" busybox-static kmod iproute2 iputils-ping ipvsadm socat nftables iptables procps || return 1
  # What the alternatives system would have linked.
  local name
  for name in iptables ip6tables; do
    for name in $name $name-save $name-restore; do ln -sf xtables-nft-multi "$1/usr/sbin/$name"; done
  done
}

6.1() {
  unpack "$1" user-mode-linux || return 1
  mv "$1/usr/bin/linux.uml" "$1/linux"
  rm -rf "$1/usr/lib/modules"
  mv "$1/usr/lib/uml/modules" "$1/usr/lib/modules"
  rm -rf "$1/usr/lib/uml" "$1/usr/bin"
}

try() {
  rm -rf "${work:?}/part"
  "$1" "$work/part"
}

for part in "$@"; do
  [ ! -d "$cache/$part" ] || continue
  echo "guest: fetching $part (once, into $cache)" >&2
  log=$cache/fetch-$part.log
  (
    try "$part" || { own_lists && try "$part"; } || { [ "$part" = 6.12 ] && own_lists "$(. /etc/os-release && echo "$VERSION_CODENAME")-backports" && try "$part"; }
  ) >"$log" 2>&1 </dev/null || {
    echo "guest: could not fetch $part; the end of $log:" >&2
    tail -n 15 "$log" >&2
    exit 125
  }
  mv "$work/part.packages" "$cache/$part.packages"
  mv "$work/part" "$cache/$part"
done
