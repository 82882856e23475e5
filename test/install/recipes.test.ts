import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { GUEST } from '../helpers/guest.ts'
import { packedFile } from '../helpers/packed.ts'
import { patient } from '../helpers/patience.mjs'
import { describeWith, run } from './installation.ts'

/** docs/examples/ansible and cloud-init.yaml, by the real Ansible, cloud-init and systemd, in a guest without a network. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LIMIT_MS = 600_000

const TABLE = `-A -t 192.0.2.10:80 -s wrr
-a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m -w 3
-a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m -w 1
`

function readText(example: string): string {
  return readFileSync(join(ROOT, 'docs/examples', example), 'utf8')
}

/** What Ansible says at the end, by name. */
function recap(text: string): Record<string, number> {
  const line = /^localhost +:(.*)$/m.exec(text)?.[1] ?? ''
  return Object.fromEntries(
    [...line.matchAll(/(\w+)=(\d+)/g)].map(([, name = '', count]) => [name, Number(count)]),
  )
}

/** Runs a command in a guest that has what the recipes need. */
function inGuest(...command: string[]): ReturnType<typeof run> {
  const argv = [process.execPath, GUEST, '--with', 'recipes', ...command]
  return run({ argv, cwd: ROOT, env: process.env as Record<string, string>, limitMs: LIMIT_MS })
}

async function needSystemd(): Promise<void> {
  const { status, stderr } = await inGuest('test', '-x', '/lib/systemd/systemd')
  if (status === 125) throw new Error(stderr)
  if (status !== 0) throw new Error('systemd is missing on this machine (Debian package systemd)')
}

await describeWith('recipes', needSystemd, () => {
  const folder = mkdtempSync(join(tmpdir(), 'ipvs-recipes-'))
  let packages: string[] = []
  beforeAll(() => {
    const packed = packedFile()
    cpSync(packed, join(folder, basename(packed)))
    execFileSync('npm', ['pack', '--silent', join(ROOT, 'node_modules/yaml')], { cwd: folder })
    packages = readdirSync(folder).map((name) => join(folder, name))
  })
  afterAll(() => {
    rmSync(folder, { recursive: true })
  })

  /** Runs a recipe, and gives what it printed by the names of its parts. */
  async function cook(recipe: string): Promise<Record<string, string>> {
    const script = join(ROOT, 'test/install/recipes.sh')
    const { stdout, stderr, status } = await inGuest('bash', script, recipe, packages.join(' '))
    expect(status, `${stdout.slice(-4000)}${stderr.slice(-2000)}`).toBe(0)
    return Object.fromEntries(
      stdout
        .split(/^== /m)
        .slice(1)
        .map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n') + 1)]),
    )
  }

  // Each has a guest of its own, with one processor.
  it.concurrent(
    'Ansible makes a director, changes nothing the second time, and refuses a table each time that is wrong or loses much',
    { timeout: patient(LIMIT_MS) },
    async () => {
      const parts = await cook('ansible')
      const { preview = '', first = '', table, second = '', service } = parts
      expect(recap(preview), preview).toMatchObject({ failed: 0, unreachable: 0 })
      expect(preview).toContain("cannot access '/etc/ipvs'")

      expect(recap(first), first).toMatchObject({ changed: 10, failed: 0, unreachable: 0 })
      expect(table).toBe(TABLE)
      expect(recap(second), second).toMatchObject({ changed: 0, failed: 0, unreachable: 0 })
      expect(service).toBe('enabled\nactive\n')

      const { wrong = '', check = '', changed = '', refused = '', again = '' } = parts
      expect(recap(wrong), wrong).toMatchObject({ changed: 0, failed: 1 })
      expect(wrong).toContain("no field 'schedule'")
      // The file and the table are those from before.
      expect(wrong.endsWith(`\nstatus 2\n${TABLE}`), wrong).toBe(true)

      expect(recap(check), check).toMatchObject({ changed: 1, failed: 0 })
      expect(check).toMatch(/^\+ .*weight: 5/m)
      expect(check.endsWith(TABLE), check).toBe(true)

      // The service may be the first to apply it.
      expect(recap(changed), changed).toMatchObject({ failed: 0 })
      expect([1, 2]).toContain(recap(changed).changed)
      expect(changed.endsWith(TABLE.replace('-w 3', '-w 5')), changed).toBe(true)

      expect(recap(refused), refused).toMatchObject({ changed: 1, failed: 1 })
      expect(recap(again), again).toMatchObject({ changed: 0, failed: 1 })
      expect(again).toContain('"rc": 3')
      expect(again.endsWith(`\nstatus 2\n${TABLE.replace('-w 3', '-w 5')}`), again).toBe(true)
    },
  )

  it.concurrent('cloud-init makes a director at the first boot', { timeout: patient(LIMIT_MS) }, async () => {
    const { schema, stages = '', table, service } = await cook('cloudinit')
    expect(schema).toBe('Valid cloud-config: docs/examples/cloud-init.yaml\n')
    expect(stages).not.toContain('status 1')
    expect(table, stages.slice(-3000)).toBe(TABLE)
    expect(service).toBe('enabled\nactive\n')
  })

  it.each([
    ['x86_64', 'x64'],
    ['aarch64', 'arm64'],
  ])("cloud-init takes Node.js for %s from nodejs.org's archive for %s", (machine, cpu) => {
    const [line = ''] = /^ *case \$\(uname -m\).*$/m.exec(readText('cloud-init.yaml')) ?? []
    expect(
      execFileSync('sh', ['-c', `uname() { echo ${machine}; }\n${line}\necho $cpu`], { encoding: 'utf8' }),
    ).toBe(`${cpu}\n`)
  })

  it('both use the same Node.js and ipvs, this one', () => {
    const [playbook, userData] = [readText('ansible/ipvs.yaml'), readText('cloud-init.yaml')]
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
    const [, node = ''] = /node_version: (\S+)/.exec(playbook) ?? []
    expect(playbook).toContain(`ipvs_version: ${version}\n`)
    expect(userData).toContain(`/usr/local ipvs@${version}\n`)
    expect(userData).toContain(`dist/v${node} node=node-v${node}-linux-$cpu.tar.gz\n`)
  })
})
