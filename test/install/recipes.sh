# What test/install/recipes.test.ts runs in the guest: a machine that systemd has booted, with an old Node.js and nothing in
# /usr/local, and no network but `lo`. Its arguments: what to run there, the folder of the recipes and the package files.
set -eu
cd "$(dirname "$0")/../.."
recipe=$1 packages=$2
version=$(sed -n 's/^    node_version: //p' docs/examples/ansible/ipvs.yaml)
archive=node-v$version-linux-x64

say() { echo "== $*"; }

# Only units that are written here: none of this machine's.
units() {
  for target in sysinit basic multi-user network-online shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' >"/etc/systemd/system/$target.target"
  done
  mkdir -p /etc/systemd/system-generators
  for generator in /lib/systemd/system-generators/*; do ln -sf /dev/null "/etc/systemd/system-generators/${generator##*/}"; done
}

# The machine's Node.js goes where nobody looks; "the archive of nodejs.org" has links to it.
prepare() {
  mkdir -p /opt/real/npm "/opt/$archive/bin" "/opt/$archive/lib/node_modules" /opt/dist /opt/bin
  touch /opt/real/node
  mount --bind "$(readlink -f "$(command -v node)")" /opt/real/node
  mount --bind "$(readlink -f "$(dirname "$(readlink -f "$(command -v npm)")")/..")" /opt/real/npm
  ln -s /opt/real/node "/opt/$archive/bin/node"
  ln -s /opt/real/npm "/opt/$archive/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "/opt/$archive/bin/npm"
  tar -C /opt -czf "/opt/dist/$archive.tar.gz" "$archive"
  (cd /opt/dist && sha256sum "$archive.tar.gz" >SHASUMS256.txt)
  # Debian 12's, and no npm.
  printf '#!/bin/sh\necho v18.20.4\n' >/opt/bin/node
  printf '#!/bin/sh\nexit 1\n' >/opt/bin/npm
  chmod 755 /opt/bin/*
  for program in node npm; do
    [ ! -e "/usr/bin/$program" ] || mount --bind "/opt/bin/$program" "/usr/bin/$program"
  done
  mount -t tmpfs tmpfs /usr/local
  mkdir -p /usr/local/src /usr/local/bin
}

boot() {
  mount -t proc proc /proc
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /etc/systemd/system
  units
  prepare
  exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=guest SYSTEMD_UNIT_PATH=/etc/systemd/system \
    /lib/systemd/systemd --system --unit=basic.target --log-target=console --show-status=no
}

# inside COMMAND...: on the machine that has booted.
inside() {
  nsenter --target "$systemd" --mount --pid env -i HOME=/root LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

booted() {
  systemd=$(pgrep -o -f '^/lib/systemd/systemd --system --unit' || :)
  [ -n "$systemd" ] && [ "$(inside systemctl is-system-running 2>/dev/null)" = running ]
}

# eventually COMMAND...: it succeeds within the time that only what hangs takes.
eventually() {
  for _ in $(seq 100); do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  echo "waited in vain: $*"
  return 1
}

table() { ipvsadm -Sn; }
has_two() { [ "$(table | wc -l)" = 3 ]; }
is_empty() { [ -z "$(table)" ]; }

ansible() {
  local here=/opt/examples/ansible
  cp -r docs/examples /opt/examples
  cat >"$here/test.yaml" <<END
ansible_connection: local
ansible_python_interpreter: /usr/bin/python3
node_folder: file:///opt/dist
ipvs_packages: [--offline, $(printf '%s, ' $packages)]
END
  echo 'directors: { hosts: { localhost: } }' >"$here/inventory.yaml"
  play() {
    inside sh -c "cd $here && ANSIBLE_PIPELINING=1 ansible-playbook -i inventory.yaml ipvs.yaml -e @test.yaml \"\$@\"" sh "$@" 2>&1 || echo "status $?"
  }
  # Of a machine that has nothing yet.
  say preview
  play --check --diff
  ls /etc/ipvs 2>&1 || :
  # New enough, but without npm.
  sed -i 's/v18.*/v22.12.0/' /opt/bin/node
  say first
  play
  say table
  eventually has_two
  table
  say second
  play
  say service
  inside systemctl is-enabled ipvs-reconcile.service
  inside systemctl is-active ipvs-reconcile.service
  say wrong
  sed 's/scheduler:/schedule:/' "$here/table.yaml" >"$here/wrong.yaml"
  play --tags table -e ipvs_table=wrong.yaml
  cmp /etc/ipvs/table.yaml "$here/table.yaml" && table
  sed 's/weight: 3/weight: 5/' "$here/table.yaml" >"$here/changed.yaml"
  say check
  play --check --diff --tags table -e ipvs_table=changed.yaml
  cmp /etc/ipvs/table.yaml "$here/table.yaml" && table
  say changed
  play --tags table -e ipvs_table=changed.yaml
  table
  echo 'services: []' >"$here/empty.yaml"
  say refused
  play --tags table -e ipvs_table=empty.yaml
  say again
  play --tags table -e ipvs_table=empty.yaml
  table
}

cloudinit() {
  sed -e "s,https://nodejs.org/dist/v$version,/opt/dist," -e "s,ipvs@0.1.0,--offline $packages," \
    docs/examples/cloud-init.yaml >/opt/user-data
  # There is no network.
  cat >/opt/curl <<'END'
#!/bin/sh
for word; do case $word in /opt/dist/*) cp "$word" . ;; esac; done
END
  chmod 755 /opt/curl
  inside cp /opt/curl /usr/local/bin/curl
  say schema
  cloud-init schema --config-file docs/examples/cloud-init.yaml
  # The seed of a virtual machine without a cloud, and what cloud-init does with it at boot, one stage after another.
  mkdir -p /var/lib/cloud/seed/nocloud
  cp /opt/user-data /var/lib/cloud/seed/nocloud/user-data
  echo 'instance-id: director-1' >/var/lib/cloud/seed/nocloud/meta-data
  cat >/etc/cloud/cloud.cfg <<'END'
datasource_list: [NoCloud, None]
network: { config: disabled }
cloud_init_modules: [write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
END
  rm -rf /etc/cloud/cloud.cfg.d
  say stages
  for stage in "init --local" init "modules --mode=config" "modules --mode=final"; do
    inside cloud-init $stage 2>&1 || echo "status $?"
  done
  say table
  eventually has_two
  table
  say service
  inside systemctl is-enabled ipvs-reconcile.service
  inside systemctl is-active ipvs-reconcile.service
}

if [ "$recipe" = boot ]; then boot; fi
unshare --mount --pid --fork --kill-child bash "$PWD/test/install/recipes.sh" boot "$packages" >/run/systemd.log 2>&1 &
eventually booted
$recipe
