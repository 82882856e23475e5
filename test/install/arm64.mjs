// Runs a script on a real arm64 kernel that has ip_vs: qemu emulates the whole computer, and so any x86-64 machine with
// Debian 12 will do. The kernel has no disk and no network. All its files come in an initramfs, and what the script writes
// is gone afterwards. Each run boots anew, in some ten seconds.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { constants, copyFile, cp, mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fetchParts, folderOf, quote } from '../../guest/machines.mjs'
import { temporaryFolder } from '../../guest/trust.mjs'

/** Node takes a hundred megabytes of it, twice while the kernel unpacks the initramfs. */
const MEMORY = '1024M'

/** An error quotes this many lines of the machine's output. */
const LAST_LINES = 40

/**
 * Fetches the parts of the machine, once. Throws a GuestError that says what is missing and what to do.
 *
 * @param {AbortSignal} [signal] stops it
 */
export async function fetchArm64(signal) {
  signal?.throwIfAborted()
  await fetchParts(['tools', 'qemu-arm', 'arm64'], (stop) => signal?.addEventListener('abort', stop))
}

/**
 * @typedef {object} Arm64Options
 * @property {string} node a Node for arm64 and glibc
 * @property {string} folder a project, with all that the script needs in its node_modules; links must not lead out of it
 * @property {string} script a path within `folder`, which is its current folder
 * @property {number} limitMs from the boot to the end
 * @property {AbortSignal} [signal] ends it
 */

/**
 * @typedef {object} Arm64Result
 * @property {number} status the script's exit status; 128 + N if signal N ended it
 * @property {string} stdout the script's output
 * @property {string} rest the script's standard error, mixed with messages of the kernel
 */

/**
 * Boots the machine, with `lo` up and ip_vs loaded, and runs a script as root. If the script does not come to its end, the
 * error quotes the last lines of the machine. The machine ends with this process, however that ends.
 *
 * @param {Arm64Options} options
 * @returns {Promise<Arm64Result>}
 */
export async function runOnArm64({ node, folder, script, limitMs, signal }) {
  await fetchArm64(signal)
  const mark = randomUUID()
  const initramfs = await openInitramfs({ node, folder, init: initProgram(script, mark) })
  try {
    const said = await boot(initramfs.fd, limitMs, signal)
    const [rest = '', stdout = '', end = ''] = said.split(`${mark}\n`)
    const [, status] = /^exit (\d+)\n/.exec(end) ?? []
    if (status === undefined) throw failure('the arm64 machine went down before the script ended', said)
    return { status: Number(status), stdout, rest }
  } finally {
    await initramfs.close()
  }
}

/**
 * The first program. On the serial line come the script's standard error, a mark, its output, the mark again, its status.
 *
 * @param {string} script
 * @param {string} mark
 */
function initProgram(script, mark) {
  return `#!/bin/sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /root
/bin/busybox mount -t proc proc /proc # from here on the shell finds its own commands
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
stty -opost </dev/console # lines end as they were written
export PATH=/usr/sbin:/usr/bin HOME=/root NO_COLOR=1
ip link set lo up
if modprobe ip_vs; then
  cd /project
  node ${quote(script)} </dev/null >/output
  status=$?
  dmesg -n 1 # from here on the line is ours
  echo ${mark}
  cat /output
  echo ${mark}
  echo "exit $status"
fi
stty sane </dev/console # returns when all is written
poweroff -f
`
}

/**
 * Makes the initramfs: two archives, which the kernel unpacks one after the other, that of the cache and ours. The file
 * has no name any more, so nothing is left of it once it is closed or this process ends.
 *
 * @param {{ node: string, folder: string, init: string }} contents
 */
async function openInitramfs({ node, folder, init }) {
  const work = await mkdtemp(path.join(await temporaryFolder(), 'ipvs-arm64-'))
  try {
    const first = path.join(work, 'first')
    await mkdir(path.join(first, 'usr/bin'), { recursive: true })
    await writeFile(path.join(first, 'init'), init, { mode: 0o755 })
    await copyFile(node, path.join(first, 'usr/bin/node'), constants.COPYFILE_FICLONE)
    await cp(folder, path.join(first, 'project'), { recursive: true, verbatimSymlinks: true })

    const file = path.join(work, 'initramfs')
    await copyFile(path.join(folderOf('arm64'), 'initramfs'), file)
    const busybox = path.join(folderOf('tools'), 'usr/bin/busybox')
    const archive = spawn(
      'bash',
      [
        '-c',
        '"$0" find . | "$0" cpio -o -H newc >>"$1"; exit $((PIPESTATUS[0] | PIPESTATUS[1]))',
        busybox,
        file,
      ],
      { cwd: first, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    let said = ''
    archive.stderr.setEncoding('utf8').on('data', (text) => (said += text))
    const [status] = await once(archive, 'close')
    if (status !== 0) throw new Error(`could not make an initramfs of ${folder}: ${said}`)
    return await open(file)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/**
 * Runs the machine until it powers itself off.
 *
 * @param {number} initramfs a file descriptor
 * @param {number} limitMs
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<string>} the output of its serial line
 */
async function boot(initramfs, limitMs, signal) {
  const usr = path.join(folderOf('qemu-arm'), 'usr')
  const machine = spawn(
    'setpriv', // qemu ends even if nobody can end it any more
    [
      ...['--pdeathsig', 'KILL', '--', path.join(usr, 'bin/qemu-system-aarch64')],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
      ...['-machine', 'virt', '-accel', 'tcg', '-cpu', 'cortex-a57', '-m', MEMORY],
      ...['-kernel', path.join(folderOf('arm64'), 'vmlinuz'), '-initrd', '/proc/self/fd/3'],
      ...['-append', 'console=ttyAMA0 panic=-1 quiet'],
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe', initramfs],
      env: { ...process.env, LD_LIBRARY_PATH: path.join(usr, 'lib') },
      ...(signal && { signal }),
      killSignal: 'SIGKILL',
    },
  )
  let said = ''
  for (const stream of [machine.stdout, machine.stderr]) {
    stream?.setEncoding('utf8').on('data', (text) => (said += text))
  }
  let late = false
  const timer = setTimeout(() => {
    late = true
    machine.kill('SIGKILL')
  }, limitMs)
  try {
    const [status, killedBy] = await once(machine, 'close')
    if (late) throw failure(`the arm64 machine was ended at the limit of ${limitMs} ms`, said)
    if (status !== 0) throw failure(`qemu ended with ${killedBy ?? `exit status ${status}`}`, said)
    return said
  } finally {
    clearTimeout(timer)
  }
}

/**
 * @param {string} reason
 * @param {string} said
 */
function failure(reason, said) {
  const last = said.replaceAll('\r', '').trim().split('\n').slice(-LAST_LINES).join('\n')
  return new Error(`${reason}. The last it said:\n${last}`)
}
