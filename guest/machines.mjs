// The two kinds of guest: how each is started, and what its first program must know of it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, constants, mkdir, readFile, readdir, statfs, symlink } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { home, temporaryFolder, whyNotTrusted } from './trust.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))

/** Why the guest did not run its command to the end: 125, it could not run; 124, the time limit. */
export class GuestError extends Error {
  /**
   * @param {string} message
   * @param {number} status
   */
  constructor(message, status = 125) {
    super(message)
    this.status = status
  }
}

/**
 * The guest's lines to the host: file descriptors, each a socket, that the machine's process inherits.
 *
 * - `control`: the guest says `started`, `exit STATUS BYTES BYTES` or `fail REASON`, the host `ROWS COLUMNS`
 * - `out`, `err`: what the command writes, byte for byte
 * - `terminal`: the guest's terminal, when there is one
 */
export const LINES = /** @type {const} */ ({ control: 4, out: 5, err: 6, terminal: 7 })

/**
 * @typedef {object} Machine
 * @property {string[]} argv
 * @property {string[]} processors of which it takes one, the first that no other guest has; none: it takes what it gets
 * @property {Record<string, string>} env besides the caller's own
 * @property {string} settings shell text that init.sh builds on: it defines `control`, `out`, `err`, `terminal`, which
 *   are devices, `nf_tables`, whether the kernel has them for IP, and the functions `mount_lower` and `mount_shares`
 */

/**
 * @typedef {object} MachineOptions
 * @property {string} work the folder of this run, a path without special characters
 * @property {string} memory such as 2G
 * @property {string[]} shares absolute paths
 * @property {string[]} extras keys of EXTRAS, whose programs the guest has too
 * @property {boolean} verbose
 */

/** @param {string} text */
export const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`

/** To raise whenever fetch.sh or initramfs.sh changes in what they make: older caches are left alone then. */
const EDITION = '1'

/** Where the kernels and tools are kept between runs. */
function cacheFolder() {
  return path.join(cacheRoot(), EDITION)
}

function cacheRoot() {
  const told = process.env['IPVS_GUEST_CACHE']
  if (told) return path.resolve(told)
  // Within the project; installed as a dependency, within the user's cache, for node_modules come and go.
  if (!here.includes('/node_modules/')) return path.resolve(here, '../.cache/guest')
  const caches = process.env['XDG_CACHE_HOME'] ?? ''
  return path.join(path.isAbsolute(caches) ? caches : path.join(home(), '.cache'), 'ipvs-guest')
}

/** @type {Record<string, { parts: string[], machine: (options: MachineOptions) => Promise<Machine> }>} */
export const KERNELS = {
  6.1: { parts: ['tools', '6.1'], machine: userModeLinux },
  6.12: { parts: ['tools', 'qemu', '6.12'], machine: qemu },
}

/**
 * User Mode Linux is a kernel that runs as a process. It reads and writes the machine's files by hostfs.
 *
 * @param {MachineOptions} options
 * @returns {Promise<Machine>}
 */
async function userModeLinux({ work, memory, shares, extras }) {
  const tools = path.join(cacheFolder(), 'tools')
  const kernel = path.join(cacheFolder(), '6.1')
  const [release] = await readdir(path.join(kernel, 'usr/lib/modules'))
  const overlay = path.join(kernel, `usr/lib/modules/${release}/kernel/fs/overlayfs/overlay.ko`)
  await symlink(path.join(tools, 'usr/bin/busybox'), path.join(work, 'busybox'))
  return {
    argv: [
      path.join(kernel, 'linux'),
      `mem=${memory}`,
      'root=/dev/root rootfstype=hostfs rootflags=/ ro',
      // Half of a boot would go into comparing ways to compute the parity of RAID 6.
      'initcall_blacklist=raid6_select_algo',
      `init=${work}/init`,
      `uml_dir=${work}/`,
      'con=null ssl=null con0=null,fd:1',
      `ssl0=fd:${LINES.control} ssl1=fd:${LINES.out} ssl2=fd:${LINES.err} con1=fd:${LINES.terminal}`,
    ].flatMap((text, i) => (i === 0 ? [text] : text.split(' '))),
    processors: await processors(),
    env: { TMPDIR: await folderForMemory(memory) },
    settings: `
control=/dev/ttyS0 out=/dev/ttyS1 err=/dev/ttyS2 terminal=/dev/tty1
nf_tables=false
mount_lower() {
  # By its path: without /proc the shell does not find itself, and so none of its own commands.
  ${work}/busybox mount -t proc proc /proc
  mount -t tmpfs tmpfs /run -o size=75%
  mkdir -p ${['tools', 'kernel', ...extras].map((name) => `/run/lower/${name}`).join(' ')}
  ln -s / /run/lower/host
  insmod ${quote(overlay)} &&
    mount -t hostfs none /run/lower/tools -o ro,${quote(tools)} &&
    mount -t hostfs none /run/lower/kernel -o ro,${quote(kernel)}${extras.map((name) => ` &&\n    mount -t hostfs none /run/lower/${name} -o ro,${quote(folderOf(name))}`).join('')}
}
mount_shares() {
  :${shares.map((share) => ` &&\n    mount -t hostfs none ${quote(share)} -o ${quote(share)}`).join('')}
}
`,
  }
}

/**
 * User Mode Linux has one processor, but is several processes of the host that wake one another: on different processors
 * each of these wake-ups takes up to ten times as long. The last is for a guest that finds all of them taken, and so
 * should not be the same for every guest.
 */
async function processors() {
  const status = await readFile('/proc/self/status', 'utf8')
  const allowed = (/^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? '0').split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, i) => String(first + i))
  })
  const turn = process.pid % allowed.length
  return [...allowed.slice(turn), ...allowed.slice(0, turn)]
}

/**
 * User Mode Linux keeps the guest's memory in a file that it maps executable. In containers /dev/shm is often too small
 * for that, or noexec.
 *
 * @param {string} memory
 */
async function folderForMemory(memory) {
  const bytes = Number.parseInt(memory) * 2 ** (memory.endsWith('G') ? 30 : 20)
  const mounts = await readFile('/proc/self/mounts', 'utf8')
  const shm = mounts.split('\n').find((line) => line.split(' ')[1] === '/dev/shm')
  if (shm && !/[ ,]noexec[ ,]/.test(shm)) {
    const { bavail, bsize } = await statfs('/dev/shm')
    if (bavail * bsize > bytes) return '/dev/shm'
  }
  return await temporaryFolder()
}

/**
 * qemu emulates a whole computer, by itself or, faster, with KVM. The guest reads and writes the machine's files by 9p.
 *
 * @param {MachineOptions} options
 * @returns {Promise<Machine>}
 */
async function qemu({ work, memory, shares, extras, verbose }) {
  const cache = cacheFolder()
  const kernel = path.join(cache, '6.12')
  const usr = path.join(cache, 'qemu/usr')
  const libraries = (await readdir(path.join(usr, 'lib'))).filter((name) => name.endsWith('-linux-gnu'))
  const comma = (/** @type {string} */ text) => text.replaceAll(',', ',,')
  const folder = (/** @type {string} */ tag, /** @type {string} */ folder, /** @type {string} */ how) => [
    '-fsdev',
    `local,id=${tag},path=${comma(folder)},security_model=none,multidevs=remap${how}`,
    '-device',
    `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`,
  ]
  const line = (/** @type {keyof typeof LINES} */ name, /** @type {string} */ device) => [
    '-chardev',
    `socket,id=${name},fd=${LINES[name]}`,
    '-device',
    `${device},chardev=${name}`,
  ]
  return {
    argv: [
      path.join(usr, 'bin/qemu-system-x86_64'),
      ...['-L', path.join(usr, 'share/qemu'), '-L', path.join(usr, 'share/seabios')],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-machine', 'q35', '-accel', await accelerator(), '-cpu', 'max', '-m', memory],
      ...['-kernel', path.join(kernel, 'vmlinuz'), '-initrd', path.join(kernel, 'initramfs')],
      ...['-append', `console=ttyS0 panic=-1 guest.work=${work}${verbose ? '' : ' quiet'}`],
      ...['-serial', 'stdio'],
      // The first of the virtio devices: its number is part of the names below.
      ...['-device', 'virtio-serial-pci'],
      ...line('control', 'virtserialport,nr=1'),
      ...line('out', 'virtserialport,nr=2'),
      ...line('err', 'virtserialport,nr=3'),
      ...line('terminal', 'virtconsole,nr=4'),
      ...folder('host', '/', ',readonly=on'),
      ...folder('tools', path.join(cache, 'tools'), ',readonly=on'),
      ...folder('kernel', kernel, ',readonly=on'),
      ...extras.flatMap((name) => folder(name, folderOf(name), ',readonly=on')),
      ...shares.flatMap((share, i) => folder(`share${i}`, share, '')),
    ],
    processors: [],
    env: { LD_LIBRARY_PATH: path.join(usr, 'lib', libraries[0] ?? '') },
    settings: `
control=/dev/vport0p1 out=/dev/vport0p2 err=/dev/vport0p3 terminal=/dev/hvc0
nf_tables=true
mount_lower() {
  : # initramfs.sh has mounted the others${extras.map((name) => `\n  mkdir /run/lower/${name} && mount -t 9p ${name} /run/lower/${name} -o ro,cache=loose,trans=virtio,version=9p2000.L,msize=512000 || return`).join('')}
}
mount_shares() {
  :${shares.map((share, i) => ` &&\n    mount -t 9p share${i} ${quote(share)} -o trans=virtio,version=9p2000.L,msize=512000`).join('')}
}
`,
  }
}

/** KVM needs the processor's help and the right to use it. Some clouds' /dev/kvm lacks the first, and is no use. */
async function accelerator() {
  const told = process.env['IPVS_GUEST_ACCEL']
  if (told) return told
  const helps = /^flags\s*:.* (vmx|svm) /m.test(await readFile('/proc/cpuinfo', 'utf8'))
  const mayUse = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  )
  return helps && mayUse ? 'kvm' : 'tcg'
}

const PROGRAMS_TO_RUN = ['bash', 'dd', 'env', 'setpriv', 'taskset']
const PROGRAMS_TO_FETCH = ['apt-get', 'apt-cache', 'dpkg-deb', 'flock', 'tar', 'awk']

/**
 * Throws with what is missing on this machine.
 *
 * @param {readonly string[]} programs
 * @param {string} remedy
 */
async function checkPrograms(programs, remedy) {
  const folders = [...(process.env['PATH'] || '/usr/bin').split(':'), '/usr/sbin', '/sbin']
  const missing = []
  for (const program of programs) {
    const found = await Promise.any(
      folders.map((folder) => access(path.join(folder || '.', program), constants.X_OK)),
    ).then(
      () => true,
      () => false,
    )
    if (!found) missing.push(program)
  }
  if (missing.length > 0) throw new GuestError(`missing on this machine: ${missing.join(', ')}. ${remedy}`)
}

/** Root runs what is in the cache. It must not be what somebody else has put there. @param {readonly string[]} parts */
async function refuseForeign(parts) {
  const named = Boolean(process.env['IPVS_GUEST_CACHE'])
  for (const folder of [cacheFolder(), ...parts.map(folderOf)]) {
    const reason = await whyNotTrusted(folder, { named })
    if (reason === undefined) continue
    throw new GuestError(
      `root does not run programs from ${folder}: ${reason}, so others could have changed them. ` +
        'Set IPVS_GUEST_CACHE to a folder that only root can write to',
    )
  }
}

/** What can be fetched besides, for `--with`. */
export const EXTRAS = ['ldirectord', 'keepalived', 'recipes']

/** The folder that a part is unpacked in. @param {string} part */
export function folderOf(part) {
  return path.join(cacheFolder(), part)
}

/**
 * Fills the cache with what is missing. A second caller waits for the first: flock(1), which lets go when that one dies.
 *
 * @param {string[]} parts
 * @param {(stop: () => void) => void} onStart is handed what stops it
 */
export async function fetchParts(parts, onStart) {
  const cache = cacheFolder()
  await refuseForeign(parts)
  const present = await Promise.all(
    parts.map((part) =>
      access(path.join(cache, part)).then(
        () => true,
        () => false,
      ),
    ),
  )
  await checkPrograms(
    PROGRAMS_TO_RUN,
    'It takes them to run (Debian packages bash, coreutils and util-linux)',
  )
  if (present.every(Boolean)) return
  await checkPrograms(
    PROGRAMS_TO_FETCH,
    'The guest is made of Debian packages, which these fetch: it takes Debian, such as a machine or a container with ' +
      `Debian 12. Or copy the folder ${cacheRoot()} from a machine where --fetch has filled it`,
  )
  await mkdir(cache, { recursive: true, mode: 0o755 })
  await refuseForeign(parts)
  const fetch = ['bash', path.join(here, 'fetch.sh'), cache, ...parts]
  const child = spawn('flock', [path.join(cache, 'lock'), ...fetch], {
    stdio: ['ignore', 2, 2],
    detached: true,
  })
  onStart(() => {
    try {
      if (child.pid && child.exitCode === null) process.kill(-child.pid, 'SIGTERM')
    } catch {
      // ended just now
    }
  })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new GuestError('what it is made of could not be fetched, see above')
}
