# The first program in namespaces of its own: makes a machine like this one, whose files can be written, and becomes its
# systemd. Runs in a guest, in a cgroup and a network namespace of a test's own.
#
#   systemd.sh PACKAGE DEPENDENCIES UNITS NODE
#
# PACKAGE is the folder of the built package, DEPENDENCIES has those that it needs, and the units in UNITS are installed.
# NODE is the program that runs the tests, for a machine that has none where services look.
set -e
package=$1
dependencies=$2
units=$3
node=$4

mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay /mnt/root -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work

# As `npm install --global ipvs` does it.
installed=/mnt/root/usr/lib/node_modules/ipvs
rm -rf "$installed"
mkdir -p "$installed/node_modules"
cp -rL "$package/package.json" "$package/dist" "$package/build" "$installed"
cp -r "$dependencies/yaml" "$installed/node_modules"
chmod +x "$installed/dist/cli/ipvs.cjs"
ln -sf ../lib/node_modules/ipvs/dist/cli/ipvs.cjs /mnt/root/usr/bin/ipvs

[ -x /usr/bin/node ] || [ -x /usr/local/bin/node ] || cp "$node" /mnt/root/usr/bin/node

cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs tmpfs run -o mode=755
mount -t tmpfs tmpfs tmp -o mode=1777
mkdir run/before
pivot_root . run/before
cd /
umount -l run/before
rmdir run/before

# Only what the units need: none of the units that this machine starts.
mkdir -p /etc/systemd/system /log
mount -t tmpfs tmpfs /etc/systemd/system
cd /etc/systemd/system
for target in sysinit basic shutdown network-online timers multi-user; do
  printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" > "$target.target"
done
cp /lib/systemd/system/modprobe@.service .
cp "$units"/*.service "$units"/*.timer .
# Where a journal would be.
mkdir service.d
printf '[Service]\nStandardOutput=append:/log/%%p\nStandardError=append:/log/%%p\n' > service.d/output.conf

export container=ipvs SYSTEMD_UNIT_PATH=/etc/systemd/system
export SYSTEMD_GENERATOR_PATH=/nonexistent SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nonexistent
cd /
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --show-status=no
