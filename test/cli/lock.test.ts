import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { FakeLock, LockingTransport } from '../helpers/locking-transport.ts'
import { ipvs, type Said } from './terminal.ts'

/** Commands that change a table which another program changes at the same time. */

const SERVICE = 'tcp/192.0.2.10:80'
const OTHER = { pid: 4711, command: 'ipvs apply other.yaml' }

let file: string
let lock: FakeLock
let memory: MemoryKernel
let kernel: LockingTransport
beforeAll(() => {
  file = join(mkdtempSync(join(tmpdir(), 'ipvs-lock-')), 'web.yaml')
  writeFileSync(
    file,
    'services: [{ protocol: tcp, address: 192.0.2.10, port: 80, realServers: [{ address: 10.0.0.7 }, { address: 10.0.0.8 }] }]\n',
  )
})
afterAll(() => {
  rmSync(join(file, '..'), { recursive: true })
})
beforeEach(async () => {
  lock = new FakeLock()
  memory = createMemoryKernel()
  kernel = new LockingTransport(memory, lock)
  const table = await Ipvs.open({ transport: kernel })
  await table.addService({ protocol: 'tcp', address: '192.0.2.10', port: 80 })
  await table.addRealServer({ protocol: 'tcp', address: '192.0.2.10', port: 80 }, { address: '10.0.0.9' })
  await table.close()
  kernel.writes = 0
})

const CHANGES = [
  `apply FILE --yes --force`,
  'flush --yes',
  `add ${SERVICE} 10.0.0.7`,
  `set ${SERVICE} 10.0.0.9 weight=5`,
  `weight ${SERVICE} 10.0.0.9 2`,
  `remove ${SERVICE}`,
]

const run = (line: string, around: object = {}): Promise<Said> =>
  ipvs(line.replace('FILE', file), { kernel, env: { IPVS_HISTORY: 'off' }, ...around })

describe('a command that changes the table', () => {
  test.each(CHANGES)('%s waits for another program, and says for which', async (line) => {
    lock.holder = OTHER
    const { status, stderr } = await run(line, {
      onStderr: (text: string) => {
        if (text.includes('waiting')) lock.holder = undefined
      },
    })
    expect(stderr).toContain(
      'ipvs: waiting for ipvs apply other.yaml (process 4711), which is changing this table; Ctrl-C gives up\n',
    )
    expect(status).toBe(0)
    expect(kernel.writes).toBeGreaterThan(0)
    expect(lock.holder).toBeUndefined()
  })

  test.each(CHANGES)('%s --no-wait is refused instead, and changes nothing', async (line) => {
    lock.holder = OTHER
    expect(await run(`${line} --no-wait`)).toMatchObject({
      status: 3,
      stderr:
        'ipvs: ipvs apply other.yaml (process 4711) is changing this table: wait until it has ended; nothing was changed\n',
    })
    expect(kernel.writes).toBe(0)
  })

  test('gives up at Ctrl-C', async () => {
    lock.holder = {}
    const said = await run(`weight ${SERVICE} 10.0.0.9 2`, {
      onStderr: (text: string, signal: (name: 'SIGINT') => void) => {
        if (text.endsWith('waiting for another process, which is changing this table; Ctrl-C gives up\n'))
          signal('SIGINT')
      },
    })
    expect(said.status).toBe(130)
    expect(kernel.writes).toBe(0)
  })

  test('goes on where there is no lock to be had, and says so', async () => {
    lock.failure = { errno: 30, syscall: 'mkdir' }
    const { status, stderr } = await run(`weight ${SERVICE} 10.0.0.9 2`)
    expect(stderr).toMatch(/^ipvs: other programs are not held out meanwhile\. EROFS: lock: /)
    expect(status).toBe(0)
  })

  test('does not hold others out while it drains', async () => {
    const { status } = await run(`drain ${SERVICE} 10.0.0.9 --force`)
    // Once to keep the state from before, and once to look and take the weight.
    expect([status, lock.tries, lock.holder]).toEqual([0, 2, undefined])
  })
})

/** Runs a command during whose wait for the lock another one changes the table. */
async function after(
  line: string,
  change: (table: Ipvs) => Promise<unknown>,
  around: object = {},
): Promise<Said> {
  lock.holder = OTHER
  let other: Promise<void> | undefined
  const said = await run(line, {
    onStderr(text: string) {
      if (!text.includes('waiting for ')) return
      other ??= (async () => {
        // Past the lock, which it holds.
        const table = await Ipvs.open({ transport: memory })
        await change(table)
        await table.close()
        kernel.writes = 0
        lock.holder = undefined
      })()
    },
    ...around,
  })
  expect(other).toBeDefined()
  await other
  return said
}

describe('a command that has waited while the table was changed', () => {
  const KEY = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
  const ADDS = 'apply - --no-prune'
  const MEANWHILE = 'ipvs: the table has changed meanwhile; this is done instead:\n'
  let stdin: string
  beforeEach(() => {
    stdin = readFileSync(file, 'utf8')
  })

  test.each([ADDS, 'restore -'])('%s is done if the table is what it wants by now', async (line) => {
    stdin = stdin.replace(' }] }]', ' }, { address: 10.0.0.9 }] }]')
    const other = (table: Ipvs): Promise<unknown> => table.restore(stdin)
    const { status, stdout, stderr } = await after(line, other, { stdin })
    expect(stderr).toContain(MEANWHILE)
    expect({ status, writes: kernel.writes }).toEqual({ status: 0, writes: 0 })
    expect(stdout).toMatch(/\n2 to add, [^\n]*\nNothing to do\.\nDone: 0 added, 0 changed, 0 deleted\.\n$/)
  })

  test('does what is left to do, and prints that', async () => {
    const other = (table: Ipvs): Promise<unknown> => table.addRealServer(KEY, { address: '10.0.0.7' })
    const { status, stdout } = await after(ADDS, other, { stdin })
    expect(status).toBe(0)
    expect(stdout).toMatch(
      /\n\+ {3}10\.0\.0\.8:80 .*\n1 to add, .*\nDone: 1 added, 0 changed, 0 deleted\.\n$/,
    )
  })

  test('tells programs what was done, not what was planned at first', async () => {
    const other = (table: Ipvs): Promise<unknown> => table.addRealServer(KEY, { address: '10.0.0.7' })
    const { status, stdout } = await after(`${ADDS} --json`, other, { stdin })
    expect(status).toBe(0)
    expect((JSON.parse(stdout) as { steps: unknown[] }).steps).toHaveLength(1)
  })

  test('is refused if that would take away what nobody has been asked about', async () => {
    stdin = stdin.replace(' }] }]', ' }, { address: 10.0.0.9 }] }]')
    const other = (table: Ipvs): Promise<unknown> => table.addRealServer(KEY, { address: '10.0.0.1' })
    expect(await after('apply -', other, { stdin })).toMatchObject({
      status: 3,
      stderr: expect.stringContaining('the table has changed since the plan was made') as string,
    })
    expect(kernel.writes).toBe(0)
  })

  test('is refused if somebody was asked: only what was shown is done', async () => {
    const other = (table: Ipvs): Promise<unknown> => table.addRealServer(KEY, { address: '10.0.0.7' })
    const path = join(file, '..', 'asked.yaml')
    writeFileSync(path, stdin)
    const asked = { columns: 80, env: { NO_COLOR: '1', IPVS_HISTORY: 'off' }, stdin: 'y\n' }
    expect(await after(`apply ${path}`, other, asked)).toMatchObject({
      status: 3,
      stderr: expect.stringContaining('the table has changed since the plan was made') as string,
    })
    expect(kernel.writes).toBe(0)
  })

  test('sets a server back to its weight, and leaves the rest as it has become', async () => {
    const state = mkdtempSync(join(tmpdir(), 'ipvs-lock-'))
    const env = { IPVS_HISTORY: '', STATE_DIRECTORY: state }
    await run(`drain ${SERVICE} 10.0.0.9 --force --keep`, { env })
    const other = (table: Ipvs): Promise<unknown> =>
      table.editRealServer(KEY, { address: '10.0.0.9' }, { upperThreshold: 9 })
    expect(await after(`drain ${SERVICE} 10.0.0.9 --undo`, other, { env })).toMatchObject({ status: 0 })
    const { stdout } = await run('save --format ipvsadm --no-timeouts')
    expect(stdout).toContain('-w 1 -x 9')
    rmSync(state, { recursive: true })
  })
})

test('a command that only reads does not wait', async () => {
  lock.holder = OTHER
  for (const line of [
    'list',
    'plan FILE',
    'apply FILE --dry-run --force',
    `weight ${SERVICE} 10.0.0.9 2 --dry-run`,
  ]) {
    expect((await run(line)).stderr).toBe('')
  }
  expect(lock.tries).toBe(0)
})
