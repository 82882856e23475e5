import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../docs/markdown.ts'
import { buildLibrary } from './built-library.ts'
import { command, THROWAWAY, tryCommand } from './kernel.ts'
import type { CommandResult } from './shell.ts'
import { until } from './until.ts'

/** A real systemd as the first process of namespaces of its own, with the units of docs/examples and the built command. */

const CGROUPS = '/sys/fs/cgroup'

/** Why there can be none here. */
export const NO_SYSTEMD: string | undefined = reasonAgainst()

function reasonAgainst(): string | undefined {
  // Its control groups would be among those of the machine's own.
  if (!THROWAWAY) return 'a systemd of their own needs the guest: guest/guest.mjs'
  for (const file of ['/lib/systemd/systemd', '/usr/bin/git']) {
    if (!existsSync(file)) return `${file} is missing`
  }
  return existsSync(join(CGROUPS, 'cgroup.procs')) ? undefined : `${CGROUPS} is not cgroup2`
}

let counter = 0

export class Systemd {
  /** Name of the network namespace that its services are in. */
  readonly netns: string
  readonly #child: ChildProcess
  readonly #cgroup: string
  /** That of systemd, outside. */
  readonly #pid: string

  private constructor(netns: string, child: ChildProcess, cgroup: string, pid: string) {
    this.netns = netns
    this.#child = child
    this.#cgroup = cgroup
    this.#pid = pid
  }

  static async boot(): Promise<Systemd> {
    const netns = `ipvs-systemd-${String(++counter)}`
    const cgroup = join(CGROUPS, netns)
    mkdirSync(cgroup)
    await command(['ip', 'netns', 'add', netns])
    const script = ['echo $$ > "$1/cgroup.procs"; shift', 'exec ip netns exec "$@"'].join('; ')
    const child = spawn(
      'sh',
      [
        ...['-c', script, 'sh', cgroup, netns],
        ...['unshare', '--fork', '--kill-child', '--pid', '--mount', '--cgroup'],
        ...['sh', join(ROOT, 'test/helpers/systemd.sh')],
        ...[buildLibrary().folder, join(ROOT, 'node_modules'), join(ROOT, 'docs/examples'), process.execPath],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const pid = await until('systemd answers', () => {
      if (child.exitCode !== null) throw new Error(`systemd did not start: ${said}`)
      return booted(child)
    })
    return new Systemd(netns, child, cgroup, pid)
  }

  /** Kills it, and all that it has started. */
  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGKILL')
    await ended
    await until('its control groups are gone', async () => {
      await tryCommand(['find', this.#cgroup, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';'])
      return !existsSync(this.#cgroup)
    })
    await command(['ip', 'netns', 'delete', this.netns])
  }

  /** Runs lines of shell on its machine to their end, whatever that is. */
  tryRun(script: string, stdin?: string): Promise<CommandResult> {
    return tryCommand([...inside(this.#pid), 'sh', '-c', script], stdin)
  }

  /** The same for lines that succeed. Gives what they printed. */
  async run(script: string, stdin?: string): Promise<string> {
    const { status, stdout, stderr } = await this.tryRun(script, stdin)
    if (status === 0) return stdout
    const logs = await this.tryRun('tail -n 20 /log/*')
    throw new Error(`${script}: status ${String(status)}: ${stderr}\n${logs.stdout}`)
  }

  /** A property of a unit, such as ActiveState. */
  async show(unit: string, property: string): Promise<string> {
    return (await this.run(`systemctl show --value --property ${property} ${unit}`)).trim()
  }

  /** What a service has printed. */
  async said(name: string): Promise<string> {
    return (await this.tryRun(`cat /log/${name}`)).stdout
  }
}

function inside(pid: string): string[] {
  return ['nsenter', '--target', pid, '--mount', '--pid', '--net', '--cgroup']
}

/** The number of the first process in there, once that is a systemd which answers. */
async function booted(child: ChildProcess): Promise<string | undefined> {
  const pid = childOf(child.pid ?? 0)
  if (pid === undefined || readFileSync(`/proc/${pid}/comm`, 'utf8').trim() !== 'systemd') return undefined
  const { status } = await tryCommand([...inside(pid), 'systemctl', 'is-active', '-q', 'multi-user.target'])
  return status === 0 ? pid : undefined
}

function childOf(pid: number): string | undefined {
  const file = `/proc/${String(pid)}/task/${String(pid)}/children`
  return readFileSync(file, 'utf8').trim() || undefined
}
