import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { type Around, ipvs, type Said } from './terminal.ts'

const ONE = '-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 10.0.0.7:80 -m -w 1\n'
const TWO = `${ONE}-a -t 192.0.2.10:80 -r 10.0.0.8:80 -m -w 2\n`

let folder: string
let kernel: MemoryKernel

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-history-'))
  kernel = createMemoryKernel()
})
afterEach(() => {
  rmSync(folder, { recursive: true })
})

/** Runs a command whose history is in the folder. */
function run(line: string | readonly string[], around: Around = {}): Promise<Said> {
  return ipvs(line, { kernel, ...around, env: { IPVS_HISTORY: '', STATE_DIRECTORY: folder, ...around.env } })
}

function apply(lines: string, around: Around = {}): Promise<Said> {
  return run('apply - --yes --force', { stdin: lines, ...around })
}

/** The table as sorted lines of ipvsadm. */
async function lines(): Promise<string> {
  const { stdout } = await ipvs('save --format ipvsadm --no-timeouts', { kernel })
  return stdout
    .split(/(?<=\n)/)
    .sort()
    .join('')
}

/** The folder of the one table. */
function tableFolder(): string {
  const [name = '', ...more] = readdirSync(join(folder, 'history'))
  expect(more).toEqual([])
  return join(folder, 'history', name)
}

function entries(): string[] {
  return existsSync(join(folder, 'history')) ? readdirSync(tableFolder()).sort() : []
}

interface Listed {
  readonly number: number
  readonly command: readonly string[]
  readonly who: { readonly uid: number; readonly sudoUser?: string }
  readonly realServers: number
}

async function listed(): Promise<readonly Listed[]> {
  return (JSON.parse((await run('history --json')).stdout) as { entries: Listed[] }).entries
}

describe('a change', () => {
  test('keeps the state from before, for nobody else to read', async () => {
    await apply(ONE)
    await apply(TWO, { env: { SUDO_USER: 'alice' } })
    const [newest, oldest] = await listed()
    expect(newest).toMatchObject({
      number: 1,
      command: ['apply', '-', '--yes', '--force'],
      who: { uid: process.geteuid?.(), sudoUser: 'alice' },
      services: 1,
      realServers: 1,
    })
    expect(oldest).toMatchObject({ number: 2, realServers: 0 })
    expect(entries()).toHaveLength(2)
    const modes = [
      join(folder, 'history'),
      tableFolder(),
      ...entries().map((name) => join(tableFolder(), name)),
    ]
    expect(modes.map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o700, 0o600, 0o600])
  })

  test.each([
    ['--no-history', 'apply - --yes --no-history', {}],
    ['IPVS_HISTORY=off', 'apply - --yes', { IPVS_HISTORY: 'off' }],
  ])('keeps nothing with %s', async (_, line, env) => {
    expect(await run(line, { stdin: ONE, env })).toMatchObject({ status: 0, stderr: '' })
    expect(readdirSync(folder)).toEqual([])
  })

  test('keeps nothing if there is nothing to do', async () => {
    await apply(ONE)
    expect(await apply(ONE)).toMatchObject({ status: 0 })
    expect(await run('apply -', { stdin: ONE })).toMatchObject({ status: 0 })
    expect(entries()).toHaveLength(1)
  })

  test.each([
    ['is only tried', 'apply - --dry-run', TWO],
    ['is refused by a guard', 'apply - --yes --allow edit-server', TWO],
    ['is not confirmed', 'apply -', '-A -f 5\n'],
    ['fails and is undone', 'apply - --yes', TWO.replace('10.0.0.8', '224.0.0.1')],
  ])('keeps nothing if it %s', async (_, line, stdin) => {
    await apply(ONE)
    expect((await run(line, { stdin })).status).not.toBe(0)
    expect(await lines()).toBe(ONE)
    expect(entries()).toHaveLength(1)
  })

  test('keeps its state if it fails and leaves something changed', async () => {
    const failing = `${TWO}-a -t 192.0.2.10:80 -r 224.0.0.1:80 -m\n`
    expect(await run('apply - --yes --keep-going', { stdin: failing })).toMatchObject({ status: 8 })
    expect(entries()).toHaveLength(1)
  })

  test('has an entry of its own if the newest has the same state', async () => {
    await apply(ONE)
    await ipvs('restore - --yes --force', { kernel, stdin: '{ "services": [] }' })
    await apply(TWO, { env: { SUDO_USER: 'bob' } })
    await ipvs('restore - --yes --force', { kernel, stdin: ONE })
    await run('flush --yes', { env: { SUDO_USER: 'alice' } })
    expect((await listed()).map(({ command, who }) => [command[0], who.sudoUser])).toEqual([
      ['flush', 'alice'],
      ['apply', 'bob'],
      ['apply', undefined],
    ])
  })

  test('keeps 20 states at most, and gives up the oldest', async () => {
    for (let weight = 1; weight <= 23; weight++) await apply(ONE.replace('-w 1', `-w ${String(weight)}`))
    const numbers = entries().map((name) => Number(name.slice(0, 6)))
    expect(numbers).toEqual(Array.from({ length: 20 }, (_, index) => index + 4))
    expect(await listed()).toHaveLength(20)
  })

  test('gives up the oldest where all together are too large', async () => {
    await apply(ONE)
    await apply(TWO)
    const [oldest = ''] = entries()
    writeFileSync(join(tableFolder(), oldest), Buffer.alloc(2 ** 26, ' '))
    await apply(ONE)
    expect(entries()).toHaveLength(2)
    expect(entries()).not.toContain(oldest)
  })

  test('brings back sysctls too', async () => {
    await apply(ONE)
    const stdin = '{ "sysctls": { "conntrack": 1 } }'
    await run('apply - --yes', { stdin })
    expect((await run('undo')).stdout).toContain('sysctl net.ipv4.vs.conntrack  1 -> 0')
    expect((await ipvs('save --sysctl conntrack', { kernel })).stdout).toContain('"conntrack": "0"')
  })

  test('of two at a time keeps both', async () => {
    const other = createMemoryKernel()
    const said = await Promise.all([apply(ONE), apply(TWO, { kernel: other })])
    expect(said).toMatchObject([
      { status: 0, stderr: '' },
      { status: 0, stderr: '' },
    ])
    expect(await listed()).toHaveLength(2)
  })
})

describe('a history that cannot be written', () => {
  /** The change is made, and the reason is told once. */
  async function refused(reason: RegExp): Promise<void> {
    const { status, stderr } = await apply(ONE)
    expect(status).toBe(0)
    expect(stderr).toMatch(/^ipvs: the state from before was not kept for ipvs undo: .*\n$/)
    expect(stderr).toMatch(reason)
    expect(await lines()).toBe(ONE)
  }

  test('where its folder is a symbolic link', async () => {
    const target = mkdtempSync(join(tmpdir(), 'ipvs-history-'))
    symlinkSync(target, join(folder, 'history'))
    await refused(/history is a symbolic link/)
    expect(readdirSync(target)).toEqual([])
    rmSync(target, { recursive: true })
  })

  test('where that of the table is one', async () => {
    await apply(ONE)
    const [name = ''] = readdirSync(join(folder, 'history'))
    const moved = join(folder, 'moved')
    renameSync(tableFolder(), moved)
    symlinkSync(moved, join(folder, 'history', name))
    const before = readdirSync(moved)
    await apply(TWO)
    expect(readdirSync(moved)).toEqual(before)
    expect(await run('undo')).toMatchObject({
      status: 7,
      stderr: expect.stringContaining('is a symbolic link') as string,
    })
  })

  test('where others can write', async () => {
    mkdirSync(join(folder, 'history'))
    chmodSync(join(folder, 'history'), 0o777)
    await refused(/others may write to .*history: run chmod go-w on it/)
  })

  test('where a file has its name', async () => {
    writeFileSync(join(folder, 'history'), '')
    await refused(/history is not a folder/)
  })

  test('where no variable names a place', async () => {
    if (process.geteuid?.() === 0) return
    const { status, stderr } = await apply(ONE, { env: { STATE_DIRECTORY: '' } })
    expect(status).toBe(0)
    expect(stderr).toContain('none of the variables STATE_DIRECTORY, XDG_STATE_HOME and HOME is set')
  })
})

describe('ipvs history', () => {
  test('lists the newest first', async () => {
    await apply(ONE, { env: { SUDO_USER: 'alice' } })
    await run(['restore', '-', '--yes'], { stdin: TWO, env: { SUDO_USER: 'bob' } })
    const { status, stdout } = await run('history')
    expect(status).toBe(0)
    expect(stdout).toMatch(
      /^NUMBER {2}WHEN {17}WHO {4}COMMAND\n {5}1 {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}bob {4}ipvs restore - --yes\n {5}2 {2}.* {2}alice {2}ipvs apply - --yes --force\n$/,
    )
  })

  test('is no wider than the terminal', async () => {
    const long = join(folder, `${'long'.repeat(30)}.rules`)
    writeFileSync(long, ONE)
    await run(['apply', long])
    const { stdout } = await run('history', { columns: 60 })
    expect(stdout.split('\n').map(({ length }) => length <= 60)).toEqual([true, true, true])
    expect(stdout).toContain('…')
  })

  test('prints a state that can be restored', async () => {
    await apply(TWO)
    await apply(ONE)
    const { stdout } = await run('history 1')
    expect(await run('restore -', { stdin: stdout })).toMatchObject({ status: 0 })
    expect(await lines()).toBe(TWO)
    expect((await run('history 2 --format yaml')).stdout).toMatch(/^version: 1\nservices:\n/)
  })

  test('is empty at first', async () => {
    expect(await run('history')).toEqual({
      status: 0,
      stdout: '',
      stderr: 'ipvs: the history of this table is empty\n',
    })
    expect(await run('undo')).toMatchObject({ status: 4 })
  })

  test.each([
    ['history 2', 4],
    ['history 0', 2],
    ['undo nine', 2],
    ['history --format yaml', 2],
    ['history 1 --json --format yaml', 2],
  ])('%s ends with status %i', async (line, status) => {
    await apply(ONE)
    expect((await run(line)).status).toBe(status)
  })

  test('goes on after a file that is not an entry', async () => {
    await apply(ONE)
    await apply(TWO)
    const [, newest = ''] = entries()
    writeFileSync(join(tableFolder(), newest), '{ "version": 1 ')
    const { status, stdout } = await run('history')
    expect(status).toBe(0)
    expect(stdout).toMatch(/ 1 {2}- .*is not an entry of the history\)\n {5}2 .*ipvs apply/)
    expect(await run('undo')).toMatchObject({ status: 7 })
    expect(await run('undo 2 --yes --force')).toMatchObject({ status: 0 })
  })
})

describe('ipvs undo', () => {
  test('goes back, and forth again', async () => {
    await apply(TWO)
    await apply(ONE)
    const back = await run('undo')
    expect(back.status).toBe(0)
    expect(back.stdout).toMatch(
      /^ {2}tcp\/192\.0\.2\.10:80\n\+ {3}10\.0\.0\.8:80 {2}method masquerade, weight 2\n/,
    )
    expect(back.stdout).toMatch(/\nDone: 1 added, 0 changed, 0 deleted\.\n$/)
    expect(back.stderr).toMatch(
      /^ipvs: back to the table from before: ipvs apply - --yes --force {2}\(.*\)\n$/,
    )
    expect(await lines()).toBe(TWO)
    expect(await run('undo --yes')).toMatchObject({ status: 0 })
    expect(await lines()).toBe(ONE)
  })

  test('asks before something is removed', async () => {
    await apply(ONE)
    await apply(TWO)
    expect(await run('undo')).toMatchObject({
      status: 3,
      stderr: expect.stringContaining('this deletes 1 real server, and there is nobody to ask') as string,
    })
    expect(await run('undo', { columns: 80, env: { NO_COLOR: '1' }, stdin: 'n\n' })).toMatchObject({
      status: 3,
    })
    expect(await lines()).toBe(TWO)
    expect(await run('undo', { columns: 80, env: { NO_COLOR: '1' }, stdin: 'y\n' })).toMatchObject({
      status: 0,
    })
    expect(await lines()).toBe(ONE)
  })

  test('deletes most of a table if that is what the person said', async () => {
    await apply('-A -f 1\n')
    await apply(['1', '2', '3', '4', '5'].map((mark) => `-A -f ${mark}\n`).join(''))
    expect(await run('undo --yes')).toMatchObject({ status: 0 })
    expect(await lines()).toMatch(/^-A -f 1 \S+ \S+\n$/)
  })

  test('takes changes of others back too, and shows them beforehand', async () => {
    await apply(ONE)
    await apply(TWO)
    const table = await Ipvs.open({ transport: kernel })
    await table.addService({ protocol: 'fwmark', fwmark: 7 })
    await table.close()
    const { status, stdout } = await run('undo --dry-run')
    expect(status).toBe(1)
    expect(stdout).toContain('- fwmark/7')
    expect(await lines()).toContain('-f 7')
  })

  test('refuses to leave a service without a live server', async () => {
    await apply(ONE.replace('-w 1', '-w 0'))
    await apply(ONE)
    expect(await run('undo --yes')).toMatchObject({ status: 3 })
    expect(await run('undo --yes --force')).toMatchObject({ status: 0 })
    expect(await lines()).toContain('-w 0')
  })

  test('refuses an entry of another network namespace that had the same name', async () => {
    await apply(ONE)
    await apply(TWO)
    const [, newest = ''] = entries()
    const path = join(tableFolder(), newest)
    const text = readFileSync(path, 'utf8')
    expect(text).toContain('"namespace":{"inode":"')
    writeFileSync(path, text.replace('"inode":"', '"inode":"9'))
    const { status, stderr } = await run('undo --yes')
    expect(status).toBe(3)
    expect(stderr).toContain(
      "entry 1 of the history is of another network namespace, which had this one's name before",
    )
    expect(await lines()).toBe(TWO)
    // After a boot the inode tells nothing.
    writeFileSync(path, text.replace('"inode":"', '"inode":"9').replace('"boot":"', '"boot":"0'))
    expect(await run('undo --yes')).toMatchObject({ status: 0 })
    expect(await lines()).toBe(ONE)
  })
})

describe('tables', () => {
  test('in files have histories of their own', async () => {
    const [one, other] = [join(folder, 'one.rules'), join(folder, 'other.rules')]
    await run(['apply', '-', '--memory', one], { stdin: ONE })
    await run(['apply', '-', '--memory', other], { stdin: TWO })
    await run(['undo', '--memory', one, '--yes', '--force'])
    expect(readFileSync(one, 'utf8')).toBe('')
    expect(readFileSync(other, 'utf8')).toContain('10.0.0.8')
    expect(readdirSync(join(folder, 'history')).map((name) => /^memory-[0-9a-f]{16}$/.test(name))).toEqual([
      true,
      true,
    ])
  })
})
