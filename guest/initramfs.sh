#!/busybox sh
# The first program of the 6.12 guest. The machine's files come over 9p from qemu; on them lies the program to go on with.
/busybox mkdir -p /proc /dev /run
/busybox mount -t proc proc /proc # from here on the shell finds its own commands
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run -o size=75%
mkdir -p /run/lower/host /run/lower/tools /run/lower/kernel
. /insert
mount_9p() { mount -t 9p "$1" "$2" -o "$3,trans=virtio,version=9p2000.L,msize=512000"; }
for layer in host tools kernel; do
  mount_9p "$layer" "/run/lower/$layer" ro,cache=loose || echo "guest: could not mount the machine's files"
done
for word in $(cat /proc/cmdline); do
  case $word in guest.work=*) exec sh "/run/lower/host${word#*=}/init" ;; esac
done
