# What runs inside the guest as PID 1. guest.mjs puts settings in front: the variables `work`, `module`, `interactive`,
# `rows`, `columns`, `layers`, `nf_tables` and the functions `mount_lower`, `mount_shares`, which differ between User Mode
# Linux and qemu, as do the lines to the host: `control`, `out`, `err`, `terminal`.
#
# The shell is busybox's, and prefers busybox's commands to those of $PATH; whatever else is needed is named by its path.

# The host's root, the tools, what --with names and the kernel's modules, all read-only, become one writable root. The host's files win over
# the tools: the guest has the programs a test would find on the host, and the others besides. What is written stays in
# the guest's memory.
enter_root() {
  mount_lower || fail 'could not mount the host'\''s files'
  mkdir -p /run/upper /run/work /run/root
  mount -t overlay root /run/root -o \
    lowerdir="$layers",upperdir=/run/upper,workdir=/run/work ||
    fail 'could not mount the overlay'
  cd /run/root
  mount -t proc proc proc
  mount -t sysfs sysfs sys
  mount -t devtmpfs dev dev
  mount -t tmpfs tmpfs run -o mode=755
  mkdir run/guest
  cp /run/lower/tools/usr/bin/busybox "/run/lower/host$work/init" "/run/lower/host$work/command" run/guest ||
    fail 'could not read the command'
  # More than a chroot: in a chroot nobody may make a user namespace.
  mount --move . /
  exec chroot . /run/guest/busybox sh /run/guest/init inside
}

set_up() {
  mkdir -p /dev/pts /dev/shm /run/lock
  mount -t devpts devpts /dev/pts -o mode=620,ptmxmode=666,gid=5
  mount -t tmpfs tmpfs /dev/shm -o mode=1777
  mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
  ln -sfn /proc/self/fd /dev/fd
  ln -sfn fd/0 /dev/stdin
  ln -sfn fd/1 /dev/stdout
  ln -sfn fd/2 /dev/stderr
  chmod 1777 /tmp
  hostname guest
  ip link set lo up
  echo /sbin/modprobe >/proc/sys/kernel/modprobe
  mount_shares || fail 'could not mount a shared folder'
  $nf_tables || use_legacy_tables
  case $module in
    loaded) /sbin/modprobe ip_vs || fail 'modprobe ip_vs failed' ;;
    absent) hide_module ;;
  esac
}

# A machine on which iptables is installed has the one that needs nf_tables. Of that package is the older one too; the
# tools have it in any case. In the place of nft, what says why there is none: whether one is asked for by name or by path.
use_legacy_tables() {
  for name in iptables ip6tables; do
    for name in $name $name-save $name-restore; do ln -sfn xtables-legacy-multi "/usr/sbin/$name"; done
  done
  # Not through a link of that name, to whatever file.
  rm -f /usr/sbin/nft
  cat >/usr/sbin/nft <<'END'
#!/bin/sh
echo "nft: this guest's kernel, User Mode Linux 6.1, is built without nf_tables for IP: use iptables here, or nft in the guest of Linux 6.12 (option --kernel 6.12)" >&2
exit 127
END
  chmod 755 /usr/sbin/nft
}

hide_module() {
  cd "/usr/lib/modules/$(uname -r)" && rm -rf kernel/net/netfilter/ipvs && mv without-ip_vs/* . ||
    fail 'could not hide the module'
  cd /
}

# The command's output and errors are pipes, as they would be on a host; each is copied to a line of its own. GNU dd
# counts: the host takes the guest down only when it has received as many bytes.
run_on_pipes() {
  exec 8>"$out" 9>"$err"
  stty raw -echo <&8 2>/dev/null # qemu's lines are no terminals
  stty raw -echo <&9 2>/dev/null
  mkfifo /run/guest/out /run/guest/err
  /usr/bin/dd bs=64k </run/guest/out >&8 2>/run/guest/out.count &
  out_copier=$!
  /usr/bin/dd bs=64k </run/guest/err >&9 2>/run/guest/err.count &
  err_copier=$!
  # Not in the background, where the shell would make it ignore SIGINT; but in a subshell, or the shell's own remark on
  # a command that a signal ended would be among the command's errors.
  (exec setsid /bin/sh /run/guest/command </dev/null >/run/guest/out 2>/run/guest/err 7>&- 8>&- 9>&-)
  status=$?
  # Nothing that the command left running may hold the pipes open.
  for process in /proc/[0-9]*; do
    process=${process#/proc/}
    case $process in
      1 | "$out_copier" | "$err_copier") ;;
      *) kill -KILL "$process" 2>/dev/null ;;
    esac
  done
  wait
  finish "$status" "$(bytes out)" "$(bytes err)"
}

bytes() { sed -n 's/ bytes.*//p' "/run/guest/$1.count"; }

run_on_terminal() {
  exec 8<>"$terminal"
  stty sane rows "$rows" cols "$columns" <&8
  while read -r rows columns; do stty rows "$rows" cols "$columns" <&8; done <&7 &
  (exec setsid -c /bin/sh /run/guest/command <&8 >&8 2>&8 7>&- 8>&-)
  status=$?
  stty sane <&8 # returns when all is written
  finish "$status" 0 0
}

# The host ends the guest at these words; the rest is in case it does not.
finish() {
  sync
  unmount_shares
  last_word "exit $*"
}

fail() {
  [ -e /proc/self/fd/7 ] || exec 7<>"$control"
  last_word "fail $*"
}

last_word() {
  echo "$*" >&7
  sleep 20
  poweroff -f
}

case ${1-} in
  inside)
    exec 7<>"$control"
    stty -echo <&7 2>/dev/null
    set_up
    echo started >&7
    if $interactive; then run_on_terminal; else run_on_pipes; fi
    ;;
  *) enter_root ;;
esac
