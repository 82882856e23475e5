#!/bin/bash
# fetch.sh CACHE PART...: fills the guest's cache folder with Debian packages, unpacked and never installed.
#
#   tools  what tests run inside: busybox, kmod, iproute2, ipvsadm, ..., and the libraries those need
#   6.1    User Mode Linux (linux) and its modules (usr)
#   6.12   a kernel for qemu (vmlinuz, initramfs) and its modules (usr)
#   qemu   qemu itself
#   ldirectord  for a test: ldirectord and the Perl modules it needs
#   keepalived  for a test: keepalived and the libraries it needs
#   recipes     for a test: Ansible and cloud-init, with the Python that runs them, and the package file of ipvsadm
#   musl   for a test: musl's loader, which is its C library too
#   qemu-arm    for a test: qemu for the processor arm64
#   arm64       for a test: a kernel for that (vmlinuz, initramfs)
#
# Each part is a folder that gets its name only when it is complete. One fetch.sh at a time works on a cache: the caller
# holds CACHE/lock, and a part that is already there is left alone. Needs apt-get and dpkg-deb, but not root: package lists
# that are missing or stale are fetched into CACHE; /etc/apt and /var/lib are only read.
set -eu -o pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
umask go-w # these are programs that root runs

cache=$1
shift
work=$cache/new
trap 'rm -rf "$work"' EXIT
trap 'exit 143' TERM INT HUP
rm -rf "$work"
mkdir "$work"

# With an empty dpkg status apt names everything a package needs, not only what this machine happens to lack.
: >"$work/status"
options=(-q -o Dir::State::status="$work/status" -o APT::Sandbox::User=root -o APT::Install-Recommends=false)

# Needed by the packages' installation or present on every Debian.
unneeded='^(libc6|libgcc-s1|gcc-[0-9]+-base|libc-bin|dpkg|tar|debconf|cdebconf|libdebian-installer4|perl.*|libperl.*|libgdbm.*|lib.*-perl|usrmerge|usr-is-merged|init-system-helpers|sysvinit-utils|lsb-base|netbase|adduser|passwd|base-passwd|libpam.*|libaudit.*|ucf|sensible-utils|dbus.*|systemd.*|mount|util-linux.*|ca-certificates|openssl)$'

# own_lists [SUITE]: from here on, package lists of our own, of the machine's sources or of one suite of its Debian mirror.
own_lists() {
  local lists=$work/apt${1-}
  mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
  options+=(-o Dir::State::lists="$lists/lists" -o Dir::Cache="$lists/cache")
  if [ $# -gt 0 ]; then
    local mirror signed=
    mirror=$(apt-get indextargets --format '$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)' |
      awk '$1 == "Packages" && $2 == "main" && $3 !~ /[-\/]/ { print $4; exit }')
    [ -n "$mirror" ] || return 1
    [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
      signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
    echo "deb $signed $mirror $1 main" >"$lists/sources.list"
    options+=(-o Dir::Etc::sourcelist="$lists/sources.list" -o Dir::Etc::sourceparts=-)
  fi
  # A source of the machine's that fails must not stop us: what counts is whether the packages are found then.
  apt-get "${options[@]}" update || true
}

# with_needs PACKAGE...: these and what they depend on, as NAME=VERSION.
with_needs() {
  apt-get "${options[@]}" install --simulate "$@" | sed -nE 's/^Inst ([^ ]+) \(([^ ]+) .*/\1 \2/p' |
    awk -v unneeded="$unneeded" '$1 !~ unneeded { print $1 "=" $2 }'
}

# unpack FOLDER PACKAGE...: exactly these.
unpack() {
  local into=$1 name deb
  shift
  [ $# -gt 0 ] || return 1
  rm -rf "$work/debs"
  mkdir -p "$work/debs" "$into"/usr/{bin,sbin,lib,lib64}
  (cd "$work/debs" && apt-get "${options[@]}" download "$@") || return 1
  # Some packages still have /bin and /lib; here as on the machine that is /usr/bin and /usr/lib.
  for name in bin sbin lib lib64; do ln -s "usr/$name" "$into/$name"; done
  for deb in "$work"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner --keep-directory-symlink -C "$into" || return 1
  done
  rm -rf "$work/debs" "$into"/usr/share/{doc,man,locale,info,bash-completion,lintian} "$into"/{var,run,bin,sbin,lib,lib64}
  printf '%s\n' "$@" >"$into/packages"
}

part_tools() {
  local name
  unpack "$1" $(with_needs busybox-static kmod iproute2 iputils-ping ipvsadm socat nftables iptables procps) || return 1
  # What installing would have linked, but to the older interface: User Mode Linux has no nf_tables for IP.
  for name in iptables ip6tables; do
    for name in $name $name-save $name-restore; do ln -s xtables-legacy-multi "$1/usr/sbin/$name"; done
  done
}

part_6.1() {
  unpack "$1" user-mode-linux || return 1
  mv "$1/usr/bin/linux.uml" "$1/linux"
  mv "$1/usr/lib/uml/modules" "$1/usr/lib/modules"
  rm -rf "$1/usr/bin" "$1/usr/lib/uml"
  index_modules "$1"
}

# index_modules FOLDER: as installing would have; and in "without-ip_vs" as if ip_vs were not there, for --absent-module.
index_modules() {
  local modules ipvs=kernel/net/netfilter/ipvs
  modules=$(echo "$1"/usr/lib/modules/*)
  ln -s usr/lib "$1/lib"
  mv "$modules/$ipvs" "$work/ipvs" && depmod "$1" "${modules##*/}" || return 1
  mkdir "$modules/without-ip_vs"
  cp "$modules"/modules.* "$modules/without-ip_vs"
  mv "$work/ipvs" "$modules/$ipvs" && depmod "$1" "${modules##*/}" || return 1
  rm "$1/lib"
}

# depmod FOLDER RELEASE, by the program among the tools.
depmod() (
  export LD_LIBRARY_PATH
  LD_LIBRARY_PATH=$(echo "$cache"/tools/usr/lib/*-linux-gnu)
  exec -a depmod "$cache/tools/usr/bin/kmod" -b "$1" "$2"
)

part_qemu() {
  unpack "$1" $(with_needs qemu-system-x86)
}

# Perl itself is the machine's, and so these are those of its Debian.
part_ldirectord() {
  unpack "$1" $(apt-get "${options[@]}" install --simulate ldirectord |
    sed -nE 's/^Inst (ldirectord|perl-openssl-defaults|lib[^ ]*-perl) \(([^ ]+) .*/\1=\2/p')
}

part_keepalived() {
  unpack "$1" $(with_needs keepalived | grep -v -E '^(pci\.ids|libsnmp-base|libsensors-config)=')
}

# Not wget, ssh, partitioning and so on, for which neither is asked.
part_recipes() {
  unpack "$1" $(with_needs ansible-core cloud-init |
    grep -E '^(ansible-core|cloud-init|(lib)?python3.*|libyaml-0-2|libexpat1|libffi8|libssl3|libsqlite3-0)=') || return 1
  (cd "$work" && apt-get "${options[@]}" download ipvsadm && mv ipvsadm_*.deb "$1/usr/share/ipvsadm.deb")
}

part_musl() {
  unpack "$1" musl
}

# Not the smaller kernel "cloud": it lacks 9p, over which the guest reads the machine's files.
part_6.12() {
  local package modules first=$work/first module file busybox=$cache/tools/usr/bin/busybox
  package=$(apt-cache "${options[@]}" search --names-only '^linux-image-6\.12\.[^ ]*-amd64$' | cut -d ' ' -f 1 |
    grep -v -E -e '-(cloud|rt)-' | sort -V | tail -n 1)
  unpack "$1" $package || return 1
  mv "$1"/boot/vmlinuz-* "$1/vmlinuz"
  rm -rf "$1/boot"
  # Four fifths are drivers of devices that the guest has not, and indexing them takes most of a minute.
  modules=$(echo "$1"/usr/lib/modules/*)
  rm -rf "$modules/kernel/sound"
  find "$modules/kernel/drivers" -mindepth 1 -maxdepth 1 ! -name net -exec rm -r {} +
  find "$modules/kernel/drivers/net" -mindepth 1 -maxdepth 1 -type d -regextype posix-extended \
    ! -regex '.*/(bonding|ipvlan|team|vxlan|wireguard)' -exec rm -r {} +
  index_modules "$1" || return 1

  # The kernel's first root: what it takes to mount the others.
  rm -rf "$first"
  mkdir "$first"
  install -m 755 "${0%/*}/initramfs.sh" "$first/init"
  cp "$cache/tools/usr/bin/busybox" "$first"
  for module in 9pnet_virtio 9p overlay; do
    # A line of modules.dep names a module, then what it needs, the first to load last.
    for file in $(grep "/$module\.ko.*:" "$modules/modules.dep" | tr -d : | tr ' ' '\n' | tac); do
      file=${file%.xz}
      [ ! -e "$first/${file##*/}" ] || continue
      "$busybox" unxz -c "$modules/$file.xz" >"$first/${file##*/}" || return 1
      echo "insmod /${file##*/}" >>"$first/insert"
    done
  done
  (cd "$first" && "$busybox" find . | "$busybox" cpio -o -H newc) >"$1/initramfs"
}

# Only the parts of qemu that a machine without devices needs: the program and its libraries.
part_qemu-arm() {
  local all=$work/all libraries
  rm -rf "$all"
  unpack "$all" $(with_needs qemu-system-arm) || return 1
  libraries=$(echo "$all"/usr/lib/*-linux-gnu)
  mkdir -p "$1"/usr/{bin,lib}
  mv "$all/packages" "$1"
  mv "$all/usr/bin/qemu-system-aarch64" "$1/usr/bin"
  LD_LIBRARY_PATH=$libraries ldd "$1/usr/bin/qemu-system-aarch64" >"$work/needed" || return 1
  awk -v here="$libraries/" 'index($3, here) == 1 { print $3 }' "$work/needed" | xargs -d '\n' cp -t "$1/usr/lib"
}

# The smaller kernel "cloud" will do: this guest is an initramfs and reads no files of the machine.
part_arm64() {
  local package modules all=$work/all first=$work/first busybox=$cache/tools/usr/bin/busybox
  package=$(apt-cache "${options[@]}" search --names-only '^linux-image-6\.1\.[^ ]*-cloud-arm64$' | cut -d ' ' -f 1 |
    sort -V | tail -n 1)
  [ -n "$package" ] || return 1
  rm -rf "$all" "$first"
  unpack "$all" $package busybox-static libc6 libgcc-s1 libstdc++6 || return 1
  mkdir -p "$1" "$first"/usr/{bin,sbin,lib/modules}
  mv "$all/packages" "$1"
  mv "$all"/boot/vmlinuz-* "$1/vmlinuz"

  # Its first root: busybox, the libraries that Node links to, and ip_vs with the modules that it needs.
  ln -s usr/bin usr/sbin usr/lib "$first"
  mv "$all/usr/bin/busybox" "$first/usr/bin"
  ln -s busybox "$first/usr/bin/sh"
  ln -s ../bin/busybox "$first/usr/sbin/modprobe"
  find "$all"/usr/lib/*-linux-gnu -maxdepth 1 -name '*.so*' -exec mv -t "$first/usr/lib" {} +
  mv "$all"/usr/lib/modules/* "$first/usr/lib/modules"
  modules=$(echo "$first"/usr/lib/modules/*)
  depmod "$first" "${modules##*/}" || return 1
  grep '^kernel/net/netfilter/ipvs/' "$modules/modules.dep" | tr -d : | tr ' ' '\n' >"$work/needed" || return 1
  (cd "$modules" && find kernel -type f | grep -v -x -F -f "$work/needed" | xargs -d '\n' rm)
  find "$modules" -type d -empty -delete
  depmod "$first" "${modules##*/}" || return 1
  (cd "$first" && "$busybox" find . | "$busybox" cpio -o -H newc) >"$1/initramfs"
}

attempt() {
  rm -rf "$work/part"
  "part_$part" "$work/part"
}

# With the machine's package lists; then with fresh ones; then, for the kernel that Debian 12 has not always had, with
# those of its backports. The machine has no lists of another processor, and its sources may be of its own alone.
fetch() {
  local suite
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  if [ "$part" = arm64 ]; then
    options+=(-o APT::Architecture=arm64 -o APT::Architectures=arm64)
    { own_lists && attempt; } || { own_lists "$suite" && attempt; }
  else
    attempt || { own_lists && attempt; } ||
      { [ "$part" = 6.12 ] && own_lists "$suite-backports" && attempt; }
  fi
}

# All of that up to three times, for a network or a mirror that fails now and then. A subshell: each time begins with the
# machine's package lists.
fetch_patiently() {
  local try tries=3
  for ((try = 1; try <= tries; try++)); do
    echo "== try $try of $tries"
    ! (fetch) || return 0
    [ "$try" = "$tries" ] || sleep $((5 * try))
  done
  return 1
}

for part in "$@"; do
  [ ! -d "$cache/$part" ] || continue
  echo "guest: fetching $part into $cache (once)" >&2
  log=$cache/fetch-$part.log
  fetch_patiently >"$log" 2>&1 </dev/null || {
    tail -n 8 "$log" | sed 's/^/  /' >&2
    echo "guest: could not fetch $part (all of the log: $log). It takes apt-get and a Debian mirror, but not root." >&2
    echo "Without a mirror, copy the folder from a machine where \`guest --fetch\` has filled it." >&2
    exit 125
  }
  mv "$work/part" "$cache/$part"
done
